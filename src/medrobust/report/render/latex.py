"""Render a table as LaTeX."""

import re
from collections.abc import Iterator, Sequence

from medrobust.report.render.plain import one_line
from medrobust.report.render.tabular import LONGEST, WIDEST, Grid, grids
from medrobust.report.render.tex import escape
from medrobust.report.render.text import legend
from medrobust.report.table.block import blocks
from medrobust.report.table.table import Table

COLUMN = 250.0
"""Width of a column in points, in most two-column layouts."""

_SHRUNK = 1.15
"""Largest ratio by which a table is shrunk into a column instead of spanning both."""

_NOTE = 0.86  # height of a line of notes, in lines of \\small text

_RUN = 8  # flags in a paragraph

_FIT = (
    "\\ifdim\\wd0>\\linewidth\\resizebox{\\linewidth}{!}{\\usebox0}\\else\\usebox0\\fi"
    "\\par\\medskip"
)


def render(table: Table) -> str:
    r"""Return LaTeX text: floats with booktabs rules and the best of each column in bold.

    The same text fits one- and two-column layouts: a grid is shrunk only if it is wider than the
    line, and one that a column cannot hold is in `table*`, which spans both columns. What is too
    long for a page continues in another float of the same number. Column axes are stacked, with
    each label over the columns it spans; a row's label that repeats the one above is blank. The
    label is `tab:` and title, data, model and metric.
    """
    lines = list(_comments(table))
    for number, (own, notes) in enumerate(_floats(grids(table), list(_notes(table)))):
        wide = max((grid.width for grid in own), default=WIDEST) > COLUMN * _SHRUNK
        kind = "table*" if wide else "table"
        lines += [f"\\begin{{{kind}}}", "\\centering", "\\small"]
        if number:
            lines += [
                "\\addtocounter{table}{-1}",
                f"\\caption{{{escape(table.title)}, continued.}}",
            ]
        else:
            lines += [f"\\caption{{{_caption(table)}.}}", f"\\label{{{label(table)}}}"]
        lines += ["\\smallskip", "\\setlength{\\tabcolsep}{4pt}"]
        for grid in own:
            lines += ["\\sbox0{%", *grid.text[:-1], f"{grid.text[-1]}}}%", _FIT]
        if notes:
            lines += [
                "\\begin{minipage}{\\linewidth}\\footnotesize\\raggedright",
                *(f"{text}\\par" for text in notes),
                "\\end{minipage}",
            ]
        lines.append(f"\\end{{{kind}}}")
    return "\n".join(lines) + "\n"


def _caption(table: Table) -> str:
    """Return title and common names: `Robustness: DermaMNIST, ResNet-18, ε = 8/255`."""
    said = []
    for part in table.caption.split(" · "):
        axis, _, name = part.partition(" ")
        kept = {"eps": f"ε = {name}", "threat": f"{name} threat", "surrogate": part}
        said.append(kept.get(axis, name))
    names = escape(", ".join(said)).replace(" = ", "~=~")
    return f"{escape(table.title)}: {names}".rstrip(".: ")


def label(table: Table) -> str:
    """Return the label of the float: `tab:robustness-dermamnist-resnet18-accuracy`."""
    rows = [row for line in table.cells for cell in line for row in cell.members]
    words = [table.title.rpartition("no result: ")[2]]
    for axis in ("data", "model"):
        names = {row.cell.get(axis, "") for row in rows}
        words += names if len(names) == 1 else []
    slugs = [_slug(word) for word in (*words, table.metric)]
    kept = [slug for at, slug in enumerate(slugs) if slug and slug not in slugs[:at]]
    return f"tab:{'-'.join(kept)}"


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _comments(table: Table) -> Iterator[str]:
    """Yield what the float needs, and what made its numbers."""
    rows = {row.id: row for line in table.cells for cell in line for row in cell.members}
    digests = sorted({str(row.code.get("package", ""))[:12] for row in rows.values()} - {""})
    dates = sorted({row.created[:10] for row in rows.values()} - {""})
    said = [
        "Written by medrobust; needs \\usepackage{booktabs} and \\usepackage{graphicx}.",
        *table.provenance,
        *([f"Digest of the package: {', '.join(digests)}."] if digests else []),
        *(
            [f"{len(rows)} rows, computed {' to '.join(dict.fromkeys(dates[:1] + dates[-1:]))}."]
            if dates
            else []
        ),
    ]
    for text in said:
        yield f"% {one_line(text).encode('ascii', 'replace').decode()}"


def _floats(made: Sequence[Grid], notes: Sequence[str]) -> Iterator[tuple[list[Grid], list[str]]]:
    """Yield the grids and notes of each float; notes that do not fit the last have their own."""
    own: list[Grid] = []
    for grid in made:
        if own and sum(one.lines + 3 for one in (*own, grid)) > LONGEST:
            yield own, []
            own = []
        own.append(grid)
    across = 58 if max(grid.width for grid in own) <= COLUMN * _SHRUNK else 95
    used, said = sum(grid.lines + 3 for grid in own), list[str]()
    for note in notes:
        lines = _NOTE * (len(note) // across + 1)
        if used + lines > LONGEST + 2 and (said or own):
            yield own, said
            own, said, used, across = [], [], 3.0, 95
        said.append(note)
        used += lines
    yield own, said


def _notes(table: Table) -> Iterator[str]:
    yield " ".join(escape(text) for text in legend(table))
    explained = dict.fromkeys(block.heading.split(" · ")[0] for block in blocks(table))
    said = [f"{escape(text)}." for text in explained if ": " in text]
    yield from [" ".join(said)][: len(said)]
    flags = [f"$^{{{at}}}$~{escape(flag.text)}." for at, flag in enumerate(table.flags, start=1)]
    yield from (" ".join(flags[at : at + _RUN]) for at in range(0, len(flags), _RUN))
    yield from map(escape, table.notes)
