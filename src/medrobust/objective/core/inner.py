"""The inner maximisation of robust training: an attack on the network that is being trained."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from medrobust import rng
from medrobust.attack.core.ball import Ball, LinfBall
from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.loss import Loss, per_image
from medrobust.attack.pgd import PGD
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.threat.surrogate import Surrogate


@contextmanager
def frozen_eval(victim: Victim) -> Iterator[None]:
    """Inside, the network answers as it will when attacked: evaluation mode, frozen weights.

    Batch norm uses its running statistics and does not move them, dropout is off, as in the
    reference code of TRADES and MART. Every flag is as before afterwards, also after an error.
    """
    modes = [(module, module.training) for module in victim.modules()]
    gradients = [(weight, weight.requires_grad) for weight in victim.parameters()]
    victim.freeze()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for weight, wanted in gradients:
            weight.requires_grad_(wanted)


class NearBall(LinfBall):
    """An L∞ ball whose random points lie close to the clean image: x + 0.001 N(0, I)."""

    def draw(self, seeds: Tensor) -> Tensor:
        """Normal with deviation 0.001 for every pixel and channel, cut to the ball."""
        noise = rng.normal(seeds, self.x.shape[1:]).to(self.dtype)
        return self.project(self.centre + 0.001 * noise)


class NearPGD(PGD):
    """PGD from x + 0.001 N(0, I), the start of TRADES and MART (reference code of both)."""

    ball: ClassVar[type[Ball]] = NearBall


class Highest(Criterion):
    """Nothing is ever good enough, so that points rank by their loss alone: the inner maximum."""

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """False for each image (N,)."""
        return torch.zeros(len(y), dtype=torch.bool, device=y.device)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """False for each image (N,)."""
        return self.away(prediction, target)


class Divergence(Loss):
    """KL(p(x) ‖ p(x')), how far the answer has moved from that on the clean image.

    Zhang et al. 2019 (TRADES). Labels play no part. The divergence is flat at the clean
    image itself: start beside it.
    """

    def __init__(self) -> None:
        self._clean: Tensor | None = None

    def bind(
        self, surrogate: Surrogate, x: Tensor, y: Tensor, seeds: Tensor, *, targeted: bool
    ) -> "Divergence":
        """Remember log p(x) of this batch."""
        return self._of(surrogate(x, seeds).logits.log_softmax(1))

    def at(self, index: Tensor) -> "Divergence":
        """For some of the images."""
        return self._of(self._known()[index])

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """The divergence per image (N,)."""
        return per_image(divergence(self._known(), prediction.logits.log_softmax(1)))

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        """Minus the divergence."""
        return -self.away(prediction, target)

    def _known(self) -> Tensor:
        if self._clean is None:
            raise RuntimeError(
                "Divergence knows no clean answer yet: an attack binds it to a batch"
            )
        return self._clean

    @staticmethod
    def _of(clean: Tensor) -> "Divergence":
        bound = Divergence()
        bound._clean = clean
        return bound


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p ‖ q) over the classes, from log-probabilities.

    Args:
        log_p: (N, K) or (N, K, H, W).
        log_q: likewise.

    Returns:
        (N,) or (N, H, W), >= 0.
    """
    return kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)
