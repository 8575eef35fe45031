"""ComDefend: compression of an image to a few binary maps, and reconstruction from them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from medrobust.defense.core.base import Derivative, unchanged
from medrobust.defense.core.learned import LearnedPurifier
from medrobust.defense.network.steady import steady
from medrobust.number import fraction, whole

_COMPRESS = (16, 32, 64, 128, 256, 128, 64, 32)  # channels between the layers, as published
_RECONSTRUCT = (32, 64, 128, 256, 128, 64, 32, 16)


class ComDefend(LearnedPurifier):
    """Compression to `bits` binary maps per channel and back (Jia, Wei, Cao and Foroosh 2019).

    It is trained on clean images alone, with Gaussian noise added to the code before its sigmoid,
    which pushes the code away from the threshold. Deployed, the code is thresholded. Gradients
    replace the threshold's derivative, which is zero, by a softsign's and are otherwise exact.
    Codes are in the hundreds, where the derivative of the training's sigmoid is zero in float32,
    and that of a softsign is not.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        bits: binary maps per image channel.
        width: factor of all channels inside; 1 is the published size.
        noise: standard deviation of the noise, φ.
        penalty: factor of the mean square of the code, λ.
        patch_px: side of the random crops of training images; smaller images are kept whole.
    """

    loop = "medrobust.training.defense.comdefend.ComDefendModule"

    def __init__(
        self,
        name: str,
        checkpoint: str,
        seed: int = 0,
        *,
        bits: int = 4,
        width: float = 0.25,
        noise: float = 20.0,
        penalty: float = 1e-4,
        patch_px: int = 16,
    ) -> None:
        super().__init__(name, checkpoint, seed)
        self.bits = whole(bits, "defense.bits", low=1)
        self.width = fraction(width, "defense.width", high=16, above=True)
        self.noise = fraction(noise, "defense.noise", high=1e4, above=True)
        self.penalty = fraction(penalty, "defense.penalty", high=1e4)
        self.patch_px = whole(patch_px, "defense.patch_px", low=8)
        self.compress: nn.Module = nn.Identity()
        self.reconstruct: nn.Module = nn.Identity()

    def build(self, channels: int) -> None:
        """Build nine 3×3 convolutions each way, with ELU between them."""
        code = self.bits * channels
        self.compress = _stack([channels, *self._scaled(_COMPRESS), code])
        self.reconstruct = _stack([code, *self._scaled(_RECONSTRUCT), channels])

    def _scaled(self, channels: Sequence[int]) -> list[int]:
        return [max(1, round(self.width * count)) for count in channels]

    def code(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to codes before the sigmoid, (N, bits · C, H, W)."""
        return steady(self.compress, x - 0.5)

    def image(self, code: Tensor) -> Tensor:
        """Map codes (N, bits · C, H, W) in [0, 1] to images (N, C, H, W) in [0, 1]."""
        return steady(self.reconstruct, code).sigmoid()

    def derivatives(self) -> dict[str, Derivative]:
        """Return `smooth`, which has the softsign's derivative, and `identity`."""
        return {"smooth": self.purify, "identity": unchanged}

    def restore(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Reconstruct the image from its thresholded code."""
        binary: Tensor = _Threshold.apply(self.code(x))
        return self.image(binary)


class _Threshold(torch.autograd.Function):
    """A threshold z > 0 with the derivative of (1 + z / (1 + |z|)) / 2, close to the sigmoid."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return (z > 0).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (z,) = ctx.saved_tensors
        return grads[0] / (2 * (1 + z.abs()) ** 2)


def _stack(channels: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ELU()]
    return nn.Sequential(*layers[:-1]).to(memory_format=torch.channels_last)
