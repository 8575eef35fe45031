"""Certified accuracy: the share of images whose right answer no attack of an L2 radius changes."""

from torch import Tensor

RADII = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5)
"""L2, in pixel units of [0, 1] images."""


def certified_shares(right: Tensor, radius: Tensor) -> dict[str, Tensor]:
    """Which images are answered rightly and certified, at each of `RADII`.

    The images are the clean ones, for it is around them that the certificate holds (Cohen,
    Rosenfeld and Kolter 2019, section 4).

    Args:
        right: bool (N,), a given and true answer to the clean image.
        radius: certified radius (N,), 0 where there is none.

    Returns:
        `certified_accuracy@r` -> bool (N,); at 0, certified at any radius.
    """
    return {
        f"certified_accuracy@{least:g}": right & (radius > 0) & (radius >= least) for least in RADII
    }
