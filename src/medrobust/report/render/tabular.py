"""Grids of a table in LaTeX, broken where they are too wide or too long for a page."""

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from medrobust.report.render.best import best
from medrobust.report.render.tex import escape
from medrobust.report.render.tex_cell import Place, Printed, line, stacked
from medrobust.report.render.text import Parts, opened, parts, side_labels, spans
from medrobust.report.table.block import blocks
from medrobust.report.table.table import Heading, Table

WIDEST = 600.0
"""Largest width of a grid in points; the text of two-column pages is about 500 points wide."""

LONGEST = 44.0
"""Lines of `\\small` text that fit a page."""

_SIGN, _BETWEEN = 4.5, 8.0  # points: a digit of \small, and the space between columns
_HEAD = 11  # characters of a heading's line, at least

Rows = list[tuple[Table, list[int]]]
"""Lines of blocks."""


@dataclass(frozen=True)
class Grid:
    r"""Part of a table that is one `tabular`.

    Attributes:
        text: its lines.
        lines: its height in lines of `\small` text.
        width: estimated width in points.
    """

    text: tuple[str, ...]
    lines: float
    width: float


def grids(table: Table) -> list[Grid]:
    """Return the grids of a table, one if it fits a page.

    Blocks are groups of rows under their heading. Where the paper's numbers next to ours make a row
    too wide, they stand below ours; a still wider table is split by columns, a longer one by rows.
    """
    made = blocks(table)
    layout = _Layout(table, made, stacked=False)
    if table.has_paper and layout.width(range(len(table.column_headings))) > WIDEST * 0.8:
        layout = _Layout(table, made, stacked=True)
    return [
        layout.grid(rows, across)
        for across in layout.column_parts()
        for rows in layout.row_parts(across)
    ]


class _Layout:
    """Prints parts of a table.

    Args:
        table: the whole table.
        parts: its blocks.
        stacked: whether the paper's numbers stand below ours.
    """

    def __init__(self, table: Table, parts: Sequence[Table], *, stacked: bool) -> None:
        self.parts, self.stacked = parts, stacked
        self.table = replace(table, row_axes=parts[0].row_axes)
        cells = _cells(parts)
        self.cells = Printed(cells, stacked=stacked, aligned=stacked or not table.has_paper)
        sides = [side for part in parts for side in side_labels(part)]
        heads = (len(axis_name(axis)) for axis in self.table.row_axes)
        labels = (max(map(len, side)) for side in zip(*sides, strict=True))
        self.side = sum(_SIGN * max(pair) + _BETWEEN for pair in zip(heads, labels, strict=True))

    def grid(self, rows: Rows, across: Sequence[int]) -> Grid:
        """Return the grid of some lines and some columns."""
        tops = tuple(self.table.column_headings[at] for at in across)
        shown = replace(self.table, column_headings=tops)
        body = [text for part, some in rows for text in self._body(part, some, tops)]
        text = (
            f"\\begin{{tabular}}{{@{{}}{'l' * len(shown.row_axes)}{'r' * len(tops)}@{{}}}}",
            "\\toprule",
            *self._head(shown, across),
            "\\midrule",
            *itertools.dropwhile("\\midrule".__eq__, body),
            "\\bottomrule",
            "\\end{tabular}",
        )
        return Grid(text, self._lines(rows) + self._head_lines(across), self.width(across))

    def width(self, across: Sequence[int]) -> float:
        """Return the estimated width of row labels and some columns, in points."""
        return self.side + sum(_SIGN * self._size(at) + _BETWEEN for at in across)

    def column_parts(self) -> list[list[int]]:
        """Return the columns of each grid; what an outer heading spans stays together if it can."""
        starts = opened(self.table.column_headings, self.table.column_axes)
        several = len(self.table.column_axes) > 1
        groups: list[list[int]] = []
        for at, start in enumerate(starts):
            if groups and several and start > 0 and self.width([*groups[-1], at]) <= WIDEST:
                groups[-1].append(at)
            else:
                groups.append([at])
        made: list[list[int]] = []
        for group in groups:
            if made and self.width([*made[-1], *group]) <= WIDEST:
                made[-1] += group
            else:
                made.append(group)
        return made

    def row_parts(self, across: Sequence[int]) -> list[Rows]:
        """Return the lines of each grid of some columns, without empty ones."""
        tops = [self.table.column_headings[at] for at in across]
        most = LONGEST - self._head_lines(across) - 4  # the caption
        made: list[Rows] = [[]]
        for part in self.parts:
            some = [
                down
                for down, heading in enumerate(part.row_headings)
                if any((heading, top) in self.cells.texts for top in tops)
            ]
            for group in self._groups(part, some, most) if some else ():
                if made[-1] and self._lines([*made[-1], (part, group)]) > most:
                    made.append([])
                if made[-1] and made[-1][-1][0] is part:
                    made[-1][-1][1].extend(group)
                else:
                    made[-1].append((part, group))
        return [rows for rows in made if rows]

    def _groups(self, part: Table, some: Sequence[int], most: float) -> Iterator[list[int]]:
        """Yield the groups of lines between which a block may be broken."""
        starts = opened([part.row_headings[down] for down in some], part.row_axes)
        group: list[int] = []
        for down, start in zip(some, starts, strict=True):
            if group and (start == 0 or self._lines([(part, [*group, down])]) > most):
                yield group
                group = []
            group.append(down)
        if group:
            yield group

    def _lines(self, rows: Rows) -> float:
        lines = 0.0
        for part, some in rows:
            starts = opened([part.row_headings[down] for down in some], part.row_axes)
            spaces = sum(start < len(part.row_axes) - 1 for start in starts)
            lines += 1.8 * bool(part.heading) + 0.5 * spaces + len(some) * (1 + 1.1 * self.stacked)
        return lines

    def _head_lines(self, across: Sequence[int]) -> float:
        return len(self.table.column_axes) + 0.5 + max(len(self._label(at)) for at in across)

    def _size(self, at: int) -> int:
        """Return the characters of a column's widest line."""
        return max(self.cells.size(self.table.column_headings[at]), *map(len, self._label(at)))

    def _label(self, at: int) -> list[str]:
        """Return the lines of a column's innermost heading."""
        top = self.table.column_headings[at]
        text = next(level.label for level in reversed(top) if level.axis in self.table.column_axes)
        return textwrap.wrap(text, max(self.cells.size(top), _HEAD), break_long_words=False) or [""]

    def _head(self, shown: Table, across: Sequence[int]) -> Iterator[str]:
        """Yield one line per column axis, with rules below all but the innermost."""
        *outer, _ = spans(shown)
        sides = ["" for _ in shown.row_axes]
        for row in outer:
            groups = [f"\\multicolumn{{{width}}}{{c}}{{{escape(label)}}}" for label, width in row]
            yield line([*sides, *groups])
            ends = [*itertools.accumulate((width for _, width in row), initial=len(sides))]
            yield " ".join(
                f"\\cmidrule(lr){{{start + 1}-{end}}}" for start, end in itertools.pairwise(ends)
            )
        labels = [stacked(map(escape, self._label(at)), "b") for at in across]
        yield line([*(escape(axis_name(axis)) for axis in shown.row_axes), *labels])

    def _body(self, part: Table, some: Sequence[int], tops: Sequence[Heading]) -> Iterator[str]:
        r"""Yield rows, with `\midrule` before an outermost group and space before an inner one."""
        if part.heading:
            across = len(part.row_axes) + len(tops)
            name = escape(heading_name(part.heading))
            yield "\\midrule"
            yield f"\\multicolumn{{{across}}}{{@{{}}l}}{{\\textit{{{name}}}}} \\\\"
            yield "\\addlinespace"
        shown = replace(part, row_headings=tuple(part.row_headings[down] for down in some))
        innermost = len(part.row_axes) - 1
        starts = opened(shown.row_headings, part.row_axes)
        pairs = zip(starts, side_labels(shown), shown.row_headings, strict=True)
        for down, (start, labels, heading) in enumerate(pairs):
            # Rules separate groups, not rows: two groups of one row have none between them.
            around = (*starts[down - 1 : down], *starts[down + 1 : down + 2])
            if down and start < innermost and any(other > start for other in around):
                yield "\\midrule" if start == 0 else "\\addlinespace"
            elif down and self.stacked:
                yield "\\addlinespace[2pt]"
            texts = (self.cells.texts.get((heading, top), "") for top in tops)
            yield line([*map(escape, labels), *texts])


def _cells(blocks_: Sequence[Table]) -> Iterator[tuple[Place, Parts, bool]]:
    """Yield the place and text of each cell of the blocks, and whether it is the best."""
    for part in blocks_:
        bold = best(part)
        for down, (side, cells) in enumerate(zip(part.row_headings, part.cells, strict=True)):
            for at, (top, cell) in enumerate(zip(part.column_headings, cells, strict=True)):
                yield (side, top), parts(part, cell), (down, at) in bold


def axis_name(axis: str) -> str:
    """Return the heading of a row axis: `noise` for `defense.noise`, `ε` for `attack.eps`."""
    name = axis.rpartition(".")[2]
    return "ε" if name == "eps" else name.replace("_", " ")


def heading_name(heading: str) -> str:
    """Return the heading of a block without its explanation."""
    name, _, explained = heading.partition(": ")
    return " · ".join([name, *explained.split(" · ")[1:]])
