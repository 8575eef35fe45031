"""Draw lines with bands, their ticks, and a legend that hides nothing."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medrobust.report.figure.core.series import Point
from medrobust.report.figure.core.style import BAND, SMALL, look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_SIGN = 0.62 * SMALL / 72  # inches, mean width of a tick label's character


def draw_lines(
    axes: "Axes", lines: Mapping[str, Sequence[Point]], *, across: float = 1.0, up: float = 1.0
) -> list[Any]:
    """Draw a line with markers per label, and a band where its points have one.

    Args:
        axes: axes to draw into.
        lines: label -> points by rising x.
        across: factor of x.
        up: factor of values.

    Returns:
        The lines, for a legend.
    """
    drawn = []
    for number, (label, points) in enumerate(lines.items()):
        looks = look(number, len(lines))
        (line,) = axes.plot(
            [across * point.x for point in points],
            [up * point.value for point in points],
            label=label,
            **looks.marked(),
        )
        drawn.append(line)
        _band(axes, points, looks.colour, across, up)
    return drawn


def _band(axes: "Axes", points: Sequence[Point], colour: str, across: float, up: float) -> None:
    low, high = ([math.nan if end is None else up * end for end in side] for side in _ends(points))
    at = [across * point.x for point in points]
    if len(points) == 1:  # a band of one point has no area
        axes.vlines(at, low, high, color=colour, linewidth=1, zorder=1)
    elif not all(map(math.isnan, low)):
        axes.fill_between(at, low, high, color=colour, alpha=BAND, linewidth=0, zorder=1)


def _ends(points: Sequence[Point]) -> tuple[list[float | None], list[float | None]]:
    return [point.low for point in points], [point.high for point in points]


def thinned(values: Sequence[float], labels: Sequence[str], inches: float) -> list[int]:
    """Return the places of the labels that fit next to each other, the outer ones first.

    Args:
        values: rising positions.
        labels: label of each.
        inches: width of the axis.
    """
    if len(values) < 2:
        return list(range(len(values)))
    unit = inches / (values[-1] - values[0])
    widths = [_SIGN * len(label) for label in labels]

    def apart(one: int, other: int) -> bool:
        gap = (widths[one] + widths[other]) / 2 + _SIGN
        return (values[other] - values[one]) * unit >= gap

    last = len(values) - 1
    kept = [0]
    for at in range(1, last):
        if apart(kept[-1], at) and apart(at, last):
            kept.append(at)
    return [*kept, last] if apart(kept[-1], last) else kept


def legend_below(made: "Canvas", lines: Sequence[Any], title: str = "") -> None:
    """Put a legend below the axes, in as many columns as fit, and make the figure higher by it.

    Args:
        made: figure with constrained layout.
        lines: artists with labels.
        title: heading of the legend.
    """
    renderer = made.canvas.get_renderer()  # type: ignore[attr-defined]
    width, height = made.get_size_inches()
    for columns in range(len(lines), 0, -1):
        legend = made.legend(
            handles=list(lines),
            loc="outside lower center",
            ncols=columns,
            title=title or None,
            columnspacing=1.2,
            borderaxespad=0.2,
        )
        box = legend.get_window_extent(renderer)
        if box.width <= (width - 0.05) * made.dpi or columns == 1:
            break
        legend.remove()
    made.set_size_inches(width, height + box.height / made.dpi)
