"""Sizes, colours, dashes and markers of every figure, fit for a paper's column or page."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

COLUMN, PAGE = 3.3, 6.9
"""Width of a text column and of a page's text, in inches."""

Width = Literal["column", "page"]
"""Names of the two widths in a config."""

INCHES = {"column": COLUMN, "page": PAGE}

TEXT, SMALL = 8.0, 7.0
"""Sizes of labels, and of ticks and legends, in points."""

TITLE, WIDE_TITLE = 9.0, 11.0
"""Sizes of headings in points: of figures that fit a page, and of wider ones for a screen."""

PRINT, SCREEN = 300, 150
"""Dots per inch of both."""

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's colours for colour-blind readers (2008), without yellow: too pale for a line."""

WARNING, NEUTRAL = "#a40000", "#b8b8b8"
"""Colour of what a reader must not overlook, and of what stands back."""

BAND = 0.18
"""Opacity of a band around a line."""

_DASHES: tuple[tuple[float, ...], ...] = (
    (4.5, 2.0),
    (1.2, 1.6),
    (6.0, 1.6, 1.2, 1.6),
    (2.5, 1.2),
    (8.0, 3.5),
    (6.0, 1.4, 1.2, 1.4, 1.2, 1.4),
)
_MARKERS = "osD^vPX"
_RC: "dict[RcKeyType, Any]" = {
    "text.parse_math": False,
    "text.usetex": False,
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": SMALL,
    "legend.title_fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 3.4,
    "grid.color": "0.88",
    "grid.linewidth": 0.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "medrobust",
}


@dataclass(frozen=True)
class Look:
    """Looks of a line; no two lines of a drawing share colour and dashes.

    Later lines are thinner and have gaps and open markers, so that an earlier line below them
    remains visible where both have the same values.

    Attributes:
        colour: `#rrggbb`.
        dashes: lengths of dashes and gaps in units of the line's width; empty for a solid line.
        marker: marker of matplotlib.
        width: width in points.
        size: size of the marker in points.
        order: drawing order, the line on top last.
    """

    colour: str
    dashes: tuple[float, ...]
    marker: str
    width: float
    size: float
    order: float

    def line(self) -> dict[str, Any]:
        """Return the arguments of `Axes.plot`."""
        return {
            "color": self.colour,
            "linestyle": (0, self.dashes) if self.dashes else "-",
            "linewidth": self.width,
            "zorder": self.order,
        }

    def marked(self) -> dict[str, Any]:
        """Return the arguments of `Axes.plot` for a line with markers."""
        return self.line() | {
            "marker": self.marker,
            "markersize": self.size,
            "markerfacecolor": self.colour if not self.dashes else "none",
            "markeredgewidth": 0.9,
        }


def look(number: int, total: int) -> Look:
    """Return the looks of a drawing's line.

    Args:
        number: number of the line, from 0 for the lowest.
        total: number of lines.
    """
    above = (total - 1 - number) / max(4, total - 1)
    return Look(
        colour=PALETTE[number % len(PALETTE)],
        dashes=_DASHES[(number - 1) % len(_DASHES)] if number else (),
        marker=_MARKERS[number % len(_MARKERS)],
        width=1.0 + 1.7 * above,
        size=3.2 + 3.6 * above,
        order=2 + number / total,
    )


@contextmanager
def paper_style() -> Iterator[None]:
    """Draw in this package's style inside this context, whatever the user's matplotlibrc says.

    Text is literal (`$` starts no formula), fonts are embedded as TrueType, and the ids inside an
    SVG depend on its content alone.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield
