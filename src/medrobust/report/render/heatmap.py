"""Render a table as a heat map with the numbers in it."""

import itertools
import textwrap
from typing import TYPE_CHECKING

from medrobust.report.figure.core.save import saved
from medrobust.report.figure.core.style import WARNING, paper_style
from medrobust.report.render.colour import ink
from medrobust.report.render.text import FAILED, OUTSIDE, legend, parts, shown, superscript
from medrobust.report.table.block import blocks
from medrobust.report.table.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_WIDE, _TALL, _TALLEST = 1.15, 0.34, 0.52  # inches, of a cell; with a paper's number
_NAME = 0.2  # inches, of an axis's name
_TITLE = 0.75  # inches
_LINE = 0.147  # inches, of the footnotes
_EMPTY = "#e8e8e8"


def render(table: Table, kind: str = "png") -> bytes:
    """Return a picture of the table; phantom tables have a watermark.

    Args:
        table: table to draw.
        kind: one of `save.PICTURES`.
    """
    with paper_style():
        return saved(_drawn(table), kind)


def _drawn(table: Table) -> "Canvas":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    parts_ = [_Part(block) for block in blocks(table)]
    width = max(
        *(part.left + part.wide * _WIDE + 0.25 for part in parts_),
        *(0.115 * len(table.title) + 0.3, 0.075 * len(table.caption)),
        *(0.085 * len(part.table.heading) + 0.3 for part in parts_),
    )
    foot = _foot(table, width)
    tops = list(itertools.accumulate((part.height for part in parts_), initial=_TITLE))
    height = tops[-1] + 0.35 + _LINE * len(foot)
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    for part, top in zip(parts_, tops, strict=False):
        bottom = top + part.height
        axes = figure.add_axes(
            (
                part.left / width,
                1 - bottom / height,
                part.wide * _WIDE / width,
                part.tall * part.cell / height,
            )
        )
        _heat(part.table, axes)
        axes.set_yticks(range(part.tall), part.side, fontsize=9)
        axes.set_xticks(range(part.wide), part.top, fontsize=9)
        axes.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False, length=0, pad=5)
        axes.xaxis.set_label_position("top")
        across, down = part.names
        axes.set_xlabel(across, fontsize=8, color="0.35")
        axes.set_ylabel(down, fontsize=8, color="0.35")
        if part.table.heading:
            place = (0.12 / width, 1 - (top + 0.12) / height)
            figure.text(*place, part.table.heading, fontsize=10, weight="bold", va="top")
    figure.text(
        *(0.12 / width, 1 - 0.14 / height),
        table.title,
        fontsize=12,
        weight="bold",
        va="top",
        color=WARNING if table.phantom else "black",
    )
    figure.text(0.12 / width, 1 - 0.42 / height, table.caption, fontsize=9, va="top")
    figure.text(
        *(0.12 / width, (_LINE * len(foot) + 0.15) / height),
        "\n".join(foot),
        fontsize=8,
        va="top",
        linespacing=1.3,
    )
    return figure


class _Part:
    """Sizes of a block, in inches, and its labels."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.side = [
            " · ".join(level.label for level in shown(heading, table.row_axes))
            for heading in table.row_headings
        ]
        self.top = [
            "\n".join(_broken(level.label) for level in shown(heading, table.column_axes))
            for heading in table.column_headings
        ]
        self.names = [
            " · ".join(level.axis for level in shown(headings[0], axes)).replace("_", " ")
            for headings, axes in (
                (table.column_headings, table.column_axes),
                (table.row_headings, table.row_axes),
            )
        ]
        self.tall, self.wide = len(self.side), len(self.top)
        printed = any(cell.paper for line in table.cells for cell in line)
        self.cell = _TALLEST if printed else _TALL
        self.left = 0.3 + _NAME + 0.083 * max(len(label) for label in self.side)
        self.head = 0.2 + _NAME + 0.17 * max(label.count("\n") + 1 for label in self.top)
        self.head += 0.3 if table.heading else 0.0
        self.height = self.head + self.tall * self.cell


def _heat(table: Table, axes: "Axes") -> None:
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    unit = table.unit
    values = np.array(
        [
            # One scale cannot colour shares and seconds.
            [
                cell.value if cell.value is not None and cell.unit == unit else np.nan
                for cell in line
            ]
            for line in table.cells
        ],
        dtype=float,
    )
    known = values[~np.isnan(values)]
    low, high = (0.0, 1.0)
    if not table.in_percent(unit):
        low, high = known.min(initial=0), known.max(initial=1e-9)
    norm, colours = Normalize(low, high), colormaps["viridis"].with_extremes(bad=_EMPTY)
    axes.imshow(np.ma.masked_invalid(values), cmap=colours, norm=norm, aspect="auto")
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    for down, line in enumerate(table.cells):
        for across, cell in enumerate(line):
            text = parts(table, cell)
            share = cell.value if cell.unit == unit else None
            ground = _EMPTY if share is None else colours(norm(share))
            colour = WARNING if text.ours == FAILED else ink(ground)
            lift = 0.16 if text.paper else 0.0
            ours = text.ours + superscript(text.marks)
            axes.text(
                *(across, down - lift), ours, ha="center", va="center", color=colour, fontsize=10
            )
            if text.paper:
                below = f"{text.paper} ({text.difference})" + OUTSIDE * text.outside
                axes.text(
                    *(across, down + 0.24),
                    below,
                    ha="center",
                    va="center",
                    color=colour,
                    fontsize=7.5,
                )
    if table.phantom:
        axes.text(
            *(0.5, 0.5),
            "PHANTOM",
            transform=axes.transAxes,
            ha="center",
            va="center",
            rotation=18,
            fontsize=min(14 * values.shape[1], 30 * values.shape[0], 90),
            weight="bold",
            color="white",
            alpha=0.4,
            zorder=2,  # behind the numbers
        )


def _broken(label: str) -> str:
    """Return a label broken into lines that fit a column."""
    short = label.replace(" ", "\n")
    return short.replace("/", "/\n", 1) if len(label.partition(" ")[0]) > 14 else short


def _foot(table: Table, width: float) -> list[str]:
    marks = [f"{superscript((mark,))} {flag}." for mark, flag in enumerate(table.flags, start=1)]
    texts = [" ".join(legend(table)), *marks, *table.notes, *table.provenance]
    columns = int(width * 15)
    return [line for text in texts for line in textwrap.wrap(text, columns) or [""]]
