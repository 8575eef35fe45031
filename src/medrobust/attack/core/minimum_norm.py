"""Base class of attacks that search for the nearest adversarial image, with or without budget."""

import math
from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from medrobust.attack.core.ball import L2Ball, norm
from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.closest import Closest
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.norm import distance
from medrobust.threat.surrogate import Gradient, Surrogate


class MinimumNorm(Attack):
    """A new minimum-norm attack writes `search`.

    Returned is, per image, the nearest adversarial image that was found: the clean image itself
    where it already reaches the goal, and also where nothing was found. With `eps`, an image
    farther away is pulled back to the budget along the line to its clean image: a failed try,
    counted on the model as every return is.

    On a randomized surrogate success is that of one draw, and the nearest of many is a lucky
    one: such an image may well fail on the next. A budgeted attack is the better question there.
    """

    needs_eps: ClassVar[bool] = False
    fills_budget: ClassVar[bool] = False
    single_draw = True

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """Search from the images that do not reach the goal yet, then keep to the budget."""
        closest = Closest(x, self.norm)
        everyone = torch.arange(len(x), device=x.device)
        loss, reached = surrogate.value(x, goal, seeds=seeds)
        closest.offer(everyone, x, reached, loss)
        rows = (~reached).nonzero().flatten()
        if len(rows):
            self.search(surrogate, goal, closest, rows, seeds)
        if closest.undefined.any():
            places = closest.undefined.nonzero().flatten().tolist()
            raise AttackError(
                f"{type(self).__name__}: loss or gradient is NaN for images {places} of the batch; "
                "check the surrogate's logits and gradients there"
            )
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
    pulled = (x.double() + factor * (image.double() - x.double())).clamp(0, 1)
    inward = L2Ball(x, eps).shown(pulled)  # in the image's dtype, no pixel farther than before
    return inward.where((away > eps).view(-1, 1, 1, 1), image)


def judged(
    surrogate: Surrogate, image: Tensor, goal: Goal, seen: Gradient, *, seeds: Tensor
) -> tuple[Tensor, Tensor]:
    """Return loss (N,) and success bool (N,) at `image`, exact wherever success is claimed.

    Args:
        surrogate: what the attacker sees; one in reduced precision only guesses success.
        image: (N, C, H, W), where the gradient was taken.
        goal: of these images.
        seen: from `value_and_grad` of `image`.
        seeds: int64 (N,), those of `seen`.
    """
    if surrogate.exact:
        return seen.loss, seen.reached
    guess = seen.reached.nonzero().flatten()
    if len(guess) == 0:
        return seen.loss, seen.reached
    loss, reached = seen.loss.clone(), seen.reached.clone()
    exact = surrogate.value(image[guess], goal.at(guess), seeds=seeds[guess])
    loss[guess], reached[guess] = exact[0].to(loss.dtype), exact[1]
    return loss, reached


def annealed(start: float, end: float, step: int, steps: int) -> float:
    """Return the value at a step of a half cosine from `start` to `end` over `steps` steps."""
    return end + (start - end) * (1 + math.cos(math.pi * step / steps)) / 2


def farthest(x: Tensor, order: float) -> Tensor:
    """Norm of the longest perturbation that stays in [0, 1], float64 (N, 1, 1, 1)."""
    return norm(torch.maximum(x, 1 - x), order, dtype=torch.float64)


def feasible(direction: Tensor, point: Tensor) -> Tensor:
    """`direction` (..., N, C, H, W) without what would push a pixel of `point` out of [0, 1]."""
    return direction.clamp(
        min=torch.where(point <= 0, 0.0, -torch.inf).to(direction.dtype),
        max=torch.where(point >= 1, 0.0, torch.inf).to(direction.dtype),
    )
