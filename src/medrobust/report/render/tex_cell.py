"""Cells of a table in LaTeX."""

from collections.abc import Iterable, Sequence

from medrobust.report.render.tex import escape
from medrobust.report.render.text import OUTSIDE, Parts
from medrobust.report.table.table import Heading

Place = tuple[Heading, Heading]
"""Headings of a cell's line and column."""


class Printed:
    """Texts of the cells of a table.

    Args:
        cells: place and text of each cell, and whether it is printed bold.
        stacked: whether the paper's number stands below ours.
        aligned: whether numbers keep their place in the column whatever marks follow them.

    Attributes:
        texts: place -> LaTeX text.
    """

    def __init__(
        self, cells: Iterable[tuple[Place, Parts, bool]], *, stacked: bool, aligned: bool
    ) -> None:
        found = list(cells)
        self.stacked = stacked
        self._marks: dict[Heading, str] = {}
        self._sizes: dict[Heading, int] = {}
        for (_, top), text, _ in found:
            self._sizes[top] = max(self._sizes.get(top, 1), self._width(text))
            if aligned:
                self._marks[top] = max(self._marks.get(top, ""), _marks(text), key=len)
        self.texts = {place: self._text(place[1], text, bold) for place, text, bold in found}

    def size(self, top: Heading) -> int:
        """Return the characters of the widest line of a column's cells."""
        return self._sizes.get(top, 1)

    def _width(self, text: Parts) -> int:
        ours = len(text.ours) + (len(_marks(text)) + 1) // 2
        if not text.paper:
            return ours
        paper = len(text.paper) + len(text.difference) + 2 + text.outside
        return max(ours, round(0.8 * paper)) if self.stacked else ours + 3 + paper

    def _text(self, top: Heading, text: Parts, bold: bool) -> str:
        ours = f"\\textbf{{{escape(text.ours)}}}" if bold else escape(text.ours)
        marks, room = _raised(_marks(text)), _raised(self._marks.get(top, ""))
        if room and marks != room:  # as wide as the widest marks of the column
            marks = (f"\\rlap{{{marks}}}" if marks else "") + f"\\phantom{{{room}}}"
        ours += marks
        if not text.paper:
            return ours
        theirs = f"{escape(text.paper)} ({escape(text.difference)}){OUTSIDE * text.outside}"
        if self.stacked:
            return stacked([ours, f"{{\\scriptsize {theirs}}}"], "t", "-2pt")
        return f"{ours} / {theirs}"


def stacked(lines: Iterable[str], place: str, space: str = "") -> str:
    """Return lines above each other, flush right.

    Args:
        lines: one or more.
        place: line that is level with the row, `t` or `b`.
        space: space between them, if not the usual one.
    """
    first, *others = lines
    if not others:
        return first
    between = f" \\\\[{space}] " if space else " \\\\ "
    text = between.join((first, *others))
    return f"\\begin{{tabular}}[{place}]{{@{{}}r@{{}}}}{text}\\end{{tabular}}"


def line(cells: Sequence[str]) -> str:
    """Return a row of a tabular."""
    return f"{' & '.join(cells)} \\\\"


def _marks(text: Parts) -> str:
    return ",".join(map(str, text.marks))


def _raised(marks: str) -> str:
    return f"$^{{{marks}}}$" if marks else ""
