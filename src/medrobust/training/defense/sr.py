"""Training of SR: super-resolution of clean images."""

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.data.core.base import Sample
from medrobust.defense.sr import SR, resize
from medrobust.training.defense.crop import random_crop
from medrobust.training.defense.train import DefenseModule


class SRModule(DefenseModule):
    """Minimises the mean absolute error of crops; selects the epoch of least squared error."""

    defense: SR
    scored = "mse"

    def loss(self, batch: Sample) -> Tensor:
        """Return the loss of randomly flipped random crops."""
        x = random_crop(batch.image, self.defense.patch_px)
        for axis in (2, 3):
            if torch.rand(()) < 0.5:
                x = x.flip(axis)
        found, clean = self._pair(x)
        return F.l1_loss(found, clean)

    def measure(self, batch: Sample) -> dict[str, Tensor]:
        """Return the errors of whole images, and of bicubic upscaling for comparison."""
        found, clean = self._pair(batch.image)
        bicubic = resize(resize(clean, self._small(clean)), clean.shape[2:])
        return {
            "mse": F.mse_loss(found.clamp(0, 1), clean),
            "mse_bicubic": F.mse_loss(bicubic, clean),
        }

    def _small(self, x: Tensor) -> list[int]:
        return [side // self.defense.scale for side in x.shape[2:]]

    def _pair(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return upscaled downscaled images and the originals, cropped to whole multiples."""
        height, width = (side * self.defense.scale for side in self._small(x))
        clean = x[:, :, :height, :width]
        return self.defense.network(resize(clean, self._small(x))), clean
