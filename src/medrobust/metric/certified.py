"""Certified accuracy: the share of images that are certifiably correct within an L2 radius."""

from torch import Tensor

RADII = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5)
"""L2 radii in pixel units of [0, 1] images."""


def certified_shares(right: Tensor, radius: Tensor) -> dict[str, Tensor]:
    """Return the images that are correct and certified, at each of `RADII`.

    The images are the clean ones, around which the certificate holds (Cohen, Rosenfeld and Kolter
    2019, section 4).

    Args:
        right: bool (N,), True where the clean image is answered, correctly.
        radius: certified radius (N,), 0 without a certificate.

    Returns:
        `certified_accuracy@r` -> bool (N,); at 0, certified at any radius.
    """
    return {
        f"certified_accuracy@{least:g}": right & (radius > 0) & (radius >= least) for least in RADII
    }
