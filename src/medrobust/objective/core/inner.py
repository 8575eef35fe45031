"""The inner maximisation of robust training: an attack on the network in training."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from medrobust import rng
from medrobust.attack.core.ball import Ball, LinfBall
from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.loss import Loss, per_image
from medrobust.attack.pgd import PGD
from medrobust.prediction import Prediction
from medrobust.threat.surrogate import Surrogate


class NearBall(LinfBall):
    """An L∞ ball whose random starts are close to the clean image: x + 0.001 N(0, I)."""

    def draw(self, seeds: Tensor) -> Tensor:
        """Draw normal noise of standard deviation 0.001, projected onto the ball."""
        noise = rng.normal(seeds, self.x.shape[1:]).to(self.dtype)
        return self.project(self.centre + 0.001 * noise)


class NearPGD(PGD):
    """PGD from x + 0.001 N(0, I), the start of TRADES and MART (reference code of both)."""

    ball: ClassVar[type[Ball]] = NearBall


class Highest(Criterion):
    """A criterion that never holds, so that points are ranked by loss alone."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Return False for each image (N,)."""
        return torch.zeros(len(y), dtype=torch.bool, device=y.device)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Return False for each image (N,)."""
        return self.away(prediction, target)


class Divergence(Loss):
    """KL(p(x) ‖ p(x')), the divergence from the answer on the clean image.

    It is the inner loss of Zhang et al. 2019 (TRADES) and does not use labels. Its gradient is zero
    at the clean image, so the attack must start next to it.
    """

    def __init__(self) -> None:
        self._clean: Tensor | None = None

    def bind(
        self, surrogate: Surrogate, x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> "Divergence":
        """Store log p(x) of the batch."""
        return self._of(surrogate(x, seeds).logits.log_softmax(1))

    def at(self, index: Tensor) -> "Divergence":
        """Restrict the loss to some of the images."""
        return self._of(self._known()[index])

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """Return the divergence per image (N,)."""
        return per_image(divergence(self._known(), prediction.logits.log_softmax(1)))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Return minus the divergence (N,)."""
        return -self.away(prediction, target)

    def _known(self) -> Tensor:
        if self._clean is None:
            raise RuntimeError(
                "Divergence has no clean log-probabilities yet; bind it to a batch first"
            )
        return self._clean

    @staticmethod
    def _of(clean: Tensor) -> "Divergence":
        bound = Divergence()
        bound._clean = clean
        return bound


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Compute KL(p ‖ q) over the classes, from log-probabilities.

    Args:
        log_p: log-probabilities (N, K) or (N, K, H, W).
        log_q: log-probabilities of the same shape.

    Returns:
        (N,) or (N, H, W), >= 0.
    """
    return kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
