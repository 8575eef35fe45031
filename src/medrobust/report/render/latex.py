"""Render a table as LaTeX."""

import itertools
from collections.abc import Iterator

from medrobust.report.render.best import best
from medrobust.report.render.plain import one_line
from medrobust.report.render.text import OUTSIDE, legend, opened, parts, side_labels, spans
from medrobust.report.table.block import blocks
from medrobust.report.table.table import Cell, Table

_ESCAPE = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_"},
        **{sign: f"{{{sign}}}" for sign in "[]*"},  # after the end of a line they mean its options
        "`": r"\textasciigrave{}",
        "<": "$<$",
        ">": "$>$",
        "|": r"\textbar{}",
        "−": "$-$",
        "±": r"$\pm$",
        "×": r"$\times$",
        "✗": r"$\times$",
        "·": r"$\cdot$",
        "–": r"\textendash{}",
        "—": r"\textemdash{}",
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
    """Return LaTeX text: a `table` float with booktabs rules and the best of each column in bold.

    Column axes are stacked, with each label over the columns it spans. A row's label that repeats
    the one above is blank, and a rule separates the outermost groups. Each block has its heading.
    """
    caption = f"{escape(table.title)}. {escape(table.caption)}"
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage{graphicx}",
        "\\begin{table}",
        "\\centering",
        f"\\caption{{{caption.rstrip('. ')}.}}",
    ]
    for number, block in enumerate(blocks(table)):
        if block.heading:
            gap = "\\par\\medskip " if number else ""
            lines.append(f"{gap}{escape(block.heading)}\\par\\smallskip")
        lines += [
            "\\resizebox{\\textwidth}{!}{%",
            f"\\begin{{tabular}}{{{'l' * len(block.row_axes)}{'r' * len(block.column_headings)}}}",
            "\\toprule",
            *_head(block),
            "\\midrule",
            *_body(block),
            "\\bottomrule",
            "\\end{tabular}}",
        ]
    lines.append("\\par\\smallskip\\footnotesize")
    below = [" ".join(escape(text) for text in legend(table))]
    below += [
        f"$^{{{mark}}}$ {escape(flag.text)}." for mark, flag in enumerate(table.flags, start=1)
    ]
    below += [escape(note) for note in table.notes]
    lines += [f"{text}\\par" for text in below]
    return "\n".join([*lines, "\\end{table}"]) + "\n"


def escape(text: str) -> str:
    """Escape text so that LaTeX prints it literally."""
    return one_line(text).translate(_ESCAPE).replace("--", "-{}-")


def _head(table: Table) -> Iterator[str]:
    """Yield one line per column axis, with rules below all but the innermost."""
    *outer, inner = spans(table)
    for row in outer:
        groups = [f"\\multicolumn{{{width}}}{{c}}{{{escape(label)}}}" for label, width in row]
        yield _line([*("" for _ in table.row_axes), *groups])
        ends = list(itertools.accumulate((width for _, width in row), initial=len(table.row_axes)))
        yield " ".join(
            f"\\cmidrule(lr){{{start + 1}-{end}}}" for start, end in itertools.pairwise(ends)
        )
    yield _line([*map(escape, table.row_axes), *(escape(label) for label, _ in inner)])


def _body(table: Table) -> Iterator[str]:
    r"""Yield the rows, with `\midrule` before an outermost group and space before an inner one."""
    bold = best(table)
    innermost = len(table.row_axes) - 1
    starts = opened(table.row_headings, table.row_axes)
    rows = zip(starts, side_labels(table), table.cells, strict=True)
    for down, (start, labels, cells) in enumerate(rows):
        # Rules separate groups, not rows: two groups of one row have none between them.
        around = (*starts[down - 1 : down], *starts[down + 1 : down + 2])
        if down and start < innermost and any(other > start for other in around):
            yield "\\midrule" if start == 0 else "\\addlinespace"
        texts = [_cell(table, cell, (down, at) in bold) for at, cell in enumerate(cells)]
        yield _line([*map(escape, labels), *texts])


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
