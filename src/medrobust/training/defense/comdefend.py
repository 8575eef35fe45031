"""Training of ComDefend: codes that are robust to noise."""

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.data.core.base import Sample
from medrobust.defense.comdefend import ComDefend
from medrobust.training.defense.crop import random_crop
from medrobust.training.defense.train import DefenseModule


class ComDefendModule(DefenseModule):
    """Minimises mean squared error + λ · mean squared code; selects the epoch of least error.

    The paper's norms are sums; means, as in its authors' code, keep λ independent of the size of
    images and code.
    """

    defense: ComDefend
    scored = "mse"

    def loss(self, batch: Sample) -> Tensor:
        """Return the loss of random crops, with noise on the code."""
        x = random_crop(batch.image, self.defense.patch_px)
        z = self.defense.code(x)
        code = (z + self.defense.noise * torch.randn_like(z)).sigmoid()
        error = F.mse_loss(self.defense.image(code), x)
        return error + self.defense.penalty * code.square().mean()

    def measure(self, batch: Sample) -> dict[str, Tensor]:
        """Return the error of whole images as deployed, and the share of ones in the code."""
        x = batch.image
        code = (self.defense.code(x) > 0).to(x.dtype)
        return {"mse": F.mse_loss(self.defense.image(code), x), "ones": code.mean()}
