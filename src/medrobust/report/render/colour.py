"""Colours of heat maps: viridis, which is readable for the colour-blind and in grey."""

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.typing import ColorType


@lru_cache(maxsize=4096)
def heat(share: float) -> tuple[str, str]:
    """Return the background and text colour of a share.

    Args:
        share: share in [0, 1]; other values are clipped.

    Returns:
        `#rrggbb` of the background, and `black` or `white` for the text on it.
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    ground = colormaps["viridis"](float(share))
    return to_hex(ground), ink(ground)


def ink(ground: "ColorType") -> str:
    """Return black or white, whichever has the higher contrast (WCAG relative luminance)."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(ground)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if luminance > 0.179 else "white"
