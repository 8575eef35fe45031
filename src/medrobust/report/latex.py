"""A table as LaTeX."""

from medrobust.report.table import Cell, Table
from medrobust.report.text import OUTSIDE, best, legend, parts, shown

_ESCAPE = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_"},
        "<": "$<$",
        ">": "$>$",
        "|": r"\textbar{}",
        "\n": " ",
        "−": "$-$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "✗": r"$\times$",
        "·": r"$\cdot$",
        "–": "--",
        "—": "---",
        "≤": r"$\le$",
        "≥": r"$\ge$",
        "∞": r"$\infty$",
        "Δ": r"$\Delta$",
        "α": r"$\alpha$",
        "β": r"$\beta$",
        "ε": r"$\varepsilon$",
        "σ": r"$\sigma$",
        "λ": r"$\lambda$",
        "²": "$^2$",
        "₂": "$_2$",
    }
)


def render(table: Table) -> str:
    """LaTeX text: a `table` float with booktabs rules; the best of each column is bold."""
    side = [escape(axis) for axis in table.row_axes]
    top = [
        ", ".join(escape(level.label) for level in shown(heading, table.column_axes))
        for heading in table.column_headings
    ]
    bold = best(table)
    caption = f"{escape(table.title)}. {escape(table.caption)}"
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage{graphicx}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption.rstrip('. ')}.}}",
        "\\resizebox{\\textwidth}{!}{%",
        f"\\begin{{tabular}}{{{'l' * len(side)}{'r' * len(top)}}}",
        "\\toprule",
        _line([*side, *top]),
        "\\midrule",
    ]
    for down, (heading, cells) in enumerate(zip(table.row_headings, table.cells, strict=True)):
        labels = [escape(level.label) for level in shown(heading, table.row_axes)]
        texts = [_cell(table, cell, (down, at) in bold) for at, cell in enumerate(cells)]
        lines.append(_line([*labels, *texts]))
    lines += ["\\bottomrule", "\\end{tabular}}", "\\par\\smallskip\\footnotesize"]
    below = [" ".join(escape(text) for text in legend(table))]
    below += [f"$^{{{mark}}}$ {escape(flag)}." for mark, flag in enumerate(table.flags, start=1)]
    below += [escape(note) for note in table.notes]
    lines += [f"{text}\\par" for text in below]
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return text.translate(_ESCAPE)


def _cell(table: Table, cell: Cell, bold: bool) -> str:
    text = parts(table, cell)
    ours = f"\\textbf{{{escape(text.ours)}}}" if bold else escape(text.ours)
    if text.marks:
        ours += f"$^{{{','.join(map(str, text.marks))}}}$"
    if not text.paper:
        return ours
    beside = f" / {escape(text.paper)} ({escape(text.difference)})"
    return ours + beside + OUTSIDE * text.outside


def _line(cells: list[str]) -> str:
    return f"{' & '.join(cells)} \\\\"
