"""Wavelet denoising and super-resolution."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.defense.core.base import Derivative
from medrobust.defense.core.learned import LearnedPurifier
from medrobust.defense.network.edsr import EDSR
from medrobust.defense.network.steady import steady
from medrobust.defense.wavelet import Wavelet
from medrobust.number import fraction, whole


class SR(LearnedPurifier):
    """Wavelet denoising followed by super-resolution with EDSR (Mustafa et al. 2019).

    The network is trained on clean images alone, to restore them from downscaled ones. Deployed, it
    upscales the denoised image. The paper's classifier takes the upscaled image; here it is resized
    back to the victim's size, unless `enlarged`.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        sigma: see `Wavelet`.
        levels: see `Wavelet`.
        features: see `EDSR`.
        blocks: see `EDSR`.
        residual_scale: see `EDSR`.
        enlarged: True for a victim that takes images of `scale` times the size.
        scale: upscaling factor, 2, 3 or 4.
        patch_px: side of the random crops of training images; smaller images are kept whole.
    """

    loop = "medrobust.training.defense.sr.SRModule"

    untrained = ("sigma", "levels", "enlarged")

    def __init__(
        self,
        name: str,
        checkpoint: str,
        seed: int = 0,
        *,
        sigma: float | str = 0.04,
        levels: int | None = None,
        features: int = 32,
        blocks: int = 8,
        residual_scale: float = 1.0,
        scale: int = 2,
        enlarged: bool = False,
        patch_px: int = 96,
    ) -> None:
        super().__init__(name, checkpoint, seed)
        self.wavelet = Wavelet(sigma, levels)
        self.features = whole(features, "defense.features", low=1)
        self.blocks = whole(blocks, "defense.blocks", low=1)
        self.residual_scale = fraction(residual_scale, "defense.residual_scale", above=True)
        self.scale = whole(scale, "defense.scale", low=2, high=4)
        self.enlarged = enlarged
        self.patch_px = whole(patch_px, "defense.patch_px", low=2 * self.scale)
        self.network: nn.Module = nn.Identity()

    def build(self, channels: int) -> None:
        """Build EDSR."""
        self.network = EDSR(
            channels,
            features=self.features,
            blocks=self.blocks,
            residual_scale=self.residual_scale,
            scale=self.scale,
        ).to(memory_format=torch.channels_last)

    def derivatives(self) -> dict[str, Derivative]:
        """Return `exact`, whose wavelet part has stand-ins of its own, and `identity`.

        For an enlarged image the identity is bicubic upscaling.
        """
        return {"exact": self.purify, "identity": self._upscaled}

    def _upscaled(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        factor = self.scale if self.enlarged else 1
        return resize(x, [factor * side for side in x.shape[2:]])

    def restore(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Denoise and upscale, then resize back to (H, W) unless `enlarged`."""
        large = steady(self.network, self.wavelet.differentiable(x, seeds=seeds)).clamp(0, 1)
        return large if self.enlarged else resize(large, x.shape[2:])

    def view(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the purified image at the size of `x`."""
        return resize(self.purify(x, seeds=seeds), x.shape[2:])


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize images bicubically with antialiasing, (N, C, H, W) -> (N, C, *size), in [0, 1]."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    found = F.interpolate(x, size=list(size), mode="bicubic", antialias=True)
    return found.clamp(0, 1)
