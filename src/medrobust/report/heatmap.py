"""A table as a picture: a heat map with the numbers in it."""

import io
import textwrap
from typing import TYPE_CHECKING

from medrobust.report.colour import ink
from medrobust.report.table import Table
from medrobust.report.text import FAILED, OUTSIDE, legend, parts, shown, superscript

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CELL = (1.15, 0.52)  # inches
_LINE = 0.147  # inches, of the footnotes
_EMPTY = "#e8e8e8"


def render(table: Table) -> bytes:
    """PNG of the table.

    The colours (viridis) are told apart by colour-blind readers and in grey. Phantom tables
    have a mark across them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    side = [
        " · ".join(level.label for level in shown(heading, table.row_axes))
        for heading in table.row_headings
    ]
    top = [
        "\n".join(_broken(level.label) for level in shown(heading, table.column_axes))
        for heading in table.column_headings
    ]
    tall, wide = len(side), len(top)
    left = 0.3 + 0.083 * max(len(label) for label in side)
    head = 0.95 + 0.17 * max(label.count("\n") + 1 for label in top)
    width = max(
        left + wide * _CELL[0] + 0.25, 0.115 * len(table.title) + 0.3, 0.075 * len(table.caption)
    )
    foot = _foot(table, width)
    height = head + tall * _CELL[1] + 0.35 + _LINE * len(foot)
    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes(
        (
            left / width,
            1 - (head + tall * _CELL[1]) / height,
            wide * _CELL[0] / width,
            tall * _CELL[1] / height,
        )
    )
    _heat(table, axes)
    axes.set_yticks(range(tall), side, fontsize=9)
    axes.set_xticks(range(wide), top, fontsize=9)
    axes.tick_params(top=True, bottom=False, labeltop=True, labelbottom=False, length=0, pad=5)
    figure.text(
        *(0.12 / width, 1 - 0.14 / height),
        table.title,
        fontsize=12,
        weight="bold",
        va="top",
        color="#a40000" if table.phantom else "black",
    )
    figure.text(0.12 / width, 1 - 0.42 / height, table.caption, fontsize=9, va="top")
    figure.text(
        *(0.12 / width, (_LINE * len(foot) + 0.15) / height),
        "\n".join(foot),
        fontsize=8,
        va="top",
        linespacing=1.3,
    )
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def _heat(table: Table, axes: "Axes") -> None:
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import Normalize

    values = np.array(
        [[np.nan if cell.value is None else cell.value for cell in line] for line in table.cells],
        dtype=float,
    )
    known = values[~np.isnan(values)]
    low, high = (0.0, 1.0) if table.percent else (known.min(initial=0), known.max(initial=1e-9))
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
            ground = _EMPTY if cell.value is None else colours(norm(cell.value))
            colour = "#a40000" if text.ours == FAILED else ink(ground)
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
    """A label in lines that fit a column."""
    short = label.replace(" ", "\n")
    return short.replace("/", "/\n", 1) if len(label.split()[0]) > 14 else short


def _foot(table: Table, width: float) -> list[str]:
    marks = [f"{superscript((mark,))} {flag}." for mark, flag in enumerate(table.flags, start=1)]
    texts = [" ".join(legend(table)), *marks, *table.notes]
    columns = int(width * 15)
    return [line for text in texts for line in textwrap.wrap(text, columns) or [""]]
