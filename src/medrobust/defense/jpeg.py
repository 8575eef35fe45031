"""JPEG compression."""

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from medrobust.defense.core.base import Derivative, StraightThroughPurifier, unchanged
from medrobust.defense.core.rounding import slanted_round
from medrobust.defense.core.smooth_jpeg import smooth_jpeg
from medrobust.number import whole

_SUBSAMPLING = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
_COARSER = ((1, 1), (1, 2), (2, 2))
"""Factors of chroma by the codec's number of a subsampling."""


class JPEG(StraightThroughPurifier):
    """8-bit JPEG, encoded and decoded by libjpeg through Pillow (Dziugaite et al. 2016).

    Its derivative for an adaptive attacker is that of a differentiable JPEG, see `smooth_jpeg`.

    Args:
        quality: quality of libjpeg, 1 to 95.
        subsampling: chroma subsampling `4:4:4`, `4:2:2` or `4:2:0`.
    """

    def __init__(self, quality: int = 75, subsampling: str = "4:2:0") -> None:
        super().__init__()
        self.quality = whole(quality, "defense.quality", low=1, high=95)
        if subsampling not in _SUBSAMPLING:
            raise ValueError(
                f"defense.subsampling={subsampling!r}; expected one of {sorted(_SUBSAMPLING)}"
            )
        self.subsampling = _SUBSAMPLING[subsampling]

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Round to 8 bits, compress and decompress images (N, 1 or 3, H, W)."""
        if x.shape[1] not in (1, 3):
            raise ValueError(f"JPEG takes 1 or 3 channels, got {x.shape[1]}")
        pixels = (x.detach() * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:  # libjpeg releases the GIL
            decoded = np.stack(list(threads.map(self._code, pixels)))
        images = torch.from_numpy(decoded).to(x.device).permute(0, 3, 1, 2)
        return images.to(x.dtype) / 255

    def derivatives(self) -> dict[str, Derivative]:
        """Return `smooth`, `slanted`, see `slanted_round`, and `identity`."""
        return {"smooth": self.stand_in, "slanted": self.slanted, "identity": unchanged}

    def stand_in(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute the differentiable JPEG of the same quality and subsampling."""
        return smooth_jpeg(x, self.quality, _COARSER[self.subsampling])

    def slanted(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute the same with a rounding whose derivative is nowhere below a tenth."""
        return smooth_jpeg(x, self.quality, _COARSER[self.subsampling], slanted_round)

    def _code(self, image: np.ndarray) -> np.ndarray:
        buffer = io.BytesIO()
        picture = Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0])
        picture.save(buffer, "JPEG", quality=self.quality, subsampling=self.subsampling)
        with Image.open(buffer) as decoded:
            return np.asarray(decoded).reshape(image.shape)


class StraightThroughJPEG(JPEG):
    """JPEG with the identity as the adaptive attacker's derivative (BPDA).

    It ignores the averaging of chroma and the coefficients that are set to zero, and so makes the
    defense look stronger than it is; for a comparison with BPDA.
    """

    def derivatives(self) -> dict[str, Derivative]:
        """Return `identity` alone."""
        return {"identity": unchanged}
