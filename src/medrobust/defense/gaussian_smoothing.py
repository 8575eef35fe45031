"""Gaussian smoothing."""

from torch import Tensor
from torchvision.transforms.v2 import functional as transform

from medrobust.defense.core.base import Purifier
from medrobust.number import fraction, whole


class GaussianSmoothing(Purifier):
    """Convolution with a Gaussian, per channel, with mirrored edges.

    Args:
        sigma_px: standard deviation in pixels.
        window: side of the kernel in pixels, odd.
    """

    def __init__(self, sigma_px: float = 1.0, window: int = 3) -> None:
        super().__init__()
        self.sigma_px = fraction(sigma_px, "defense.sigma_px", high=100, above=True)
        self.window = whole(window, "defense.window", low=3)
        if window % 2 == 0:
            raise ValueError(f"defense.window={window} is even; expected an odd side in pixels")

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Smooth images (N, C, H, W)."""
        if min(x.shape[2:]) <= self.window // 2:
            raise ValueError(
                f"defense.window={self.window} does not fit images of {tuple(x.shape[2:])} pixels"
            )
        kernel, sigma = [self.window] * 2, [self.sigma_px] * 2
        return transform.gaussian_blur(x, kernel, sigma).clamp(0, 1)
