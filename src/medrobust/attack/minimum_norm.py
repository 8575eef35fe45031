"""The frame of attacks that look for the nearest adversarial image, with or without a budget."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from medrobust.attack.base import Attack, distance
from medrobust.attack.closest import Closest
from medrobust.attack.goal import Goal
from medrobust.threat.surrogate import Surrogate


class MinimumNorm(Attack):
    """A new minimum-norm attack writes `search`.

    Returned is, per image, the nearest adversarial image that was found: the clean image itself
    where it already reaches the goal, and also where nothing was found. With `eps`, an image
    farther away is pulled back to the budget along the line to its clean image: a failed try,
    counted on the model as every return is.
    """

    needs_eps: ClassVar[bool] = False

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """Search from the images that do not reach the goal yet, then keep to the budget."""
        closest = Closest(x, self.norm)
        everyone = torch.arange(len(x), device=x.device)
        _, reached = surrogate.value(x, goal, seeds=seeds)
        closest.offer(everyone, x, reached)
        rows = (~reached).nonzero().flatten()
        if len(rows):
            self.search(surrogate, goal, closest, rows, seeds)
        return closest.image if self.eps is None else within(x, closest.image, self.norm, self.eps)

    @abstractmethod
    def search(
        self, surrogate: Surrogate, goal: Goal, closest: Closest, rows: Tensor, seeds: Tensor
    ) -> None:
        """Offer candidates to `closest`.

        Args:
            surrogate: what the attacker sees.
            goal: of the whole batch; `goal.at(rows)` for a part.
            closest: holds the clean images, in `closest.x`.
            rows: int64 (M,), M >= 1, the images that do not reach the goal yet.
            seeds: int64 (N,) of the whole batch.
        """


def within(x: Tensor, image: Tensor, norm: str, eps: float) -> Tensor:
    """`image`, pulled back along the line to `x` (N, C, H, W) where it is farther than `eps`."""
    away = distance(x, image, norm)
    factor = (eps / away.clamp(min=eps)).view(-1, 1, 1, 1)
    pulled = (x.double() + factor * (image.double() - x.double())).clamp(0, 1).to(x.dtype)
    return pulled.where((away > eps).view(-1, 1, 1, 1), image)
