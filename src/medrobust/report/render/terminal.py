"""Print a table on the terminal."""

import sys
from collections.abc import Iterator

from rich.box import HORIZONTALS
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from medrobust.report.render.best import best
from medrobust.report.render.text import FAILED, legend, parts, shown, superscript
from medrobust.report.table.block import blocks
from medrobust.report.table.table import Table

_UNLIMITED = 10_000


def show(table: Table, console: Console | None = None) -> None:
    """Print a table.

    Cells take one line if the width allows, else two or three; a still wider table is split by
    columns. In a pipe or a file the width is unlimited.

    Args:
        table: table to print.
        console: output console; by default standard output.
    """
    if console is None:
        width = None if sys.stdout.isatty() else _UNLIMITED
        console = Console(highlight=False, width=width)
    console.print(Text(table.title, style="bold"), soft_wrap=True)
    if table.caption:
        console.print(Text(table.caption, style="dim"), soft_wrap=True)
    for block in blocks(table):
        if block.heading:
            console.print(Text(f"\n{block.heading}", style="bold"), soft_wrap=True)
        for grid in _grids(block, console):
            console.print(grid, crop=False)
    console.print(Text(" ".join(legend(table))), soft_wrap=True)
    for mark, flag in enumerate(table.flags, start=1):
        console.print(Text(f"{superscript((mark,))} {flag}.", style="yellow"), soft_wrap=True)
    for note in (*table.notes, *table.provenance):
        console.print(Text(note, style="dim"), soft_wrap=True)


def _grids(table: Table, console: Console) -> Iterator[RichTable]:
    everything = list(range(len(table.column_headings)))
    for lines in (1, 2, 3):
        grid = _grid(table, everything, lines)
        if _width(grid, console) <= console.width:
            yield grid
            return
    start = 0
    while start < len(everything):
        stop = start + 1
        while stop < len(everything):
            grid = _grid(table, everything[start : stop + 1], 2)
            if _width(grid, console) > console.width:
                break
            stop += 1
        yield _grid(table, everything[start:stop], 2)
        start = stop


def _width(grid: RichTable, console: Console) -> int:
    options = console.options.update(width=_UNLIMITED, max_width=_UNLIMITED)
    return Measurement.get(console, options, grid).maximum


def _grid(table: Table, columns: list[int], lines: int) -> RichTable:
    grid = RichTable(box=HORIZONTALS, show_lines=lines > 1 and table.has_paper, header_style="bold")
    for axis in table.row_axes:
        grid.add_column(Text(axis), no_wrap=True)
    for column in columns:
        labels = [level.label for level in shown(table.column_headings[column], table.column_axes)]
        heading = " · ".join(labels) if lines == 1 else "\n".join(labels).replace(" ", "\n")
        if lines == 3:
            heading = heading.replace("/", "/\n", 1)
        grid.add_column(Text(heading, justify="right"), justify="right", no_wrap=True)
    bold = best(table)
    for down, (place, cells) in enumerate(zip(table.row_headings, table.cells, strict=True)):
        labels = [level.label for level in shown(place, table.row_axes)]
        texts = []
        for column in columns:
            text = parts(table, cells[column])
            said = Text(text.lines(lines))
            if text.ours == FAILED:
                said.stylize("red")
            elif text.marks:
                said.stylize("yellow")
            if (down, column) in bold:
                said.stylize("bold", 0, len(text.ours))
            texts.append(said)
        grid.add_row(*(Text(label) for label in labels), *texts)
    return grid
