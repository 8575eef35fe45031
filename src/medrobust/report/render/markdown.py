"""Render a table as Markdown."""

import re

from medrobust.report.render.best import best
from medrobust.report.render.plain import one_line
from medrobust.report.render.text import legend, parts, shown, side_labels, superscript
from medrobust.report.table.block import blocks
from medrobust.report.table.table import Cell, Table

_SIGNS = re.compile(r"[\\|*_`<>\[\]~#$]|&(?=#?\w+;)")
_START = re.compile(r"^(\d*)([-+=.)])")


def render(table: Table) -> str:
    """Return Markdown text: heading, table, legend and footnotes; each column's best is bold.

    A row's label that repeats the one above is blank. Markdown allows one line of headings, so a
    column's heading names every level.
    """
    lines = [f"## {escape(table.title)}", ""]
    if table.caption:
        lines += [paragraph(table.caption), ""]
    for number, block in enumerate(blocks(table)):
        if block.heading:
            lines += ["", f"### {escape(block.heading)}", ""][number == 0 :]
        lines += _grid(block)
    lines += ["", paragraph(" ".join(legend(table)))]
    for mark, flag in enumerate(table.flags, start=1):
        lines += ["", f"{superscript((mark,))} {escape(flag.text)}."]
    for note in (*table.notes, *table.provenance):
        lines += ["", paragraph(note)]
    return "\n".join(lines) + "\n"


def _grid(table: Table) -> list[str]:
    side = [escape(axis) for axis in table.row_axes]
    top = [
        " · ".join(escape(level.label) for level in shown(heading, table.column_axes))
        for heading in table.column_headings
    ]
    lines = [
        _line([*side, *top]),
        _line([*(":---" for _ in side), *("---:" for _ in top)]),
    ]
    bold = best(table)
    for down, (labels, cells) in enumerate(zip(side_labels(table), table.cells, strict=True)):
        texts = [_cell(table, cell, (down, at) in bold) for at, cell in enumerate(cells)]
        lines.append(_line([*map(escape, labels), *texts]))
    return lines


def escape(text: str) -> str:
    """Escape text so that Markdown prints it literally, also inside a table."""
    return _SIGNS.sub(r"\\\g<0>", one_line(text))


def paragraph(text: str) -> str:
    """Escape a paragraph, so that it also starts no list, heading, quote or code block."""
    return _START.sub(r"\g<1>\\\g<2>", escape(text).strip())


def _cell(table: Table, cell: Cell, bold: bool) -> str:
    text = parts(table, cell)
    ours = escape(text.ours)
    return (f"**{ours}**" if bold else ours) + escape(text.lines().removeprefix(text.ours))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
