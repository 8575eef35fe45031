"""DeepFool: steps to the nearest boundary of the linearised classifier."""

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from medrobust.attack.core.ball import norm as norm_of
from medrobust.attack.core.closest import Closest
from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.minimum_norm import MinimumNorm, feasible
from medrobust.attack.core.norm import known_norm
from medrobust.attack.core.target import Target
from medrobust.number import fraction, whole
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Surrogate

_NUDGE = 1e-5  # least push past the boundary, in pixel units
_FEW = 4
_LEAST_SHARE = {"l2": math.sqrt(2.0), "linf": 2.0}  # half of the logit gap per step


class DeepFool(MinimumNorm):
    """Each step goes to the nearest of the boundaries between the true class and the others.

    Moosavi-Dezfooli et al. 2016, "DeepFool: a simple and accurate method to fool deep neural
    networks", algorithm 2: with f_k the logit of class k minus that of the true class and w_k its
    gradient, the step is |f_k| / ||w_k||_2^2 * w_k for the class k of least |f_k| / ||w_k||_2; in
    L∞ (their eq. 10, 11, p = inf, q = 1) it is |f_k| / ||w_k||_1 * sign(w_k). As in the authors'
    code every step is stretched by the overshoot, and an image is done once it is misclassified.

    The box: pixels that are 0 or 1 and would be pushed out stay, but still count in the norm, as
    in other implementations: each step closes only the share of the gap that the other pixels
    have in it. Where that is less than half, the step is lengthened to close half. Rounding: an
    image nearer to the boundary than the least push, and yet on its old side, is pushed twice as
    far the next time. So what is returned has crossed, cut to [0, 1] and in its own dtype.

    Cost: one forward pass of all images; per step, of the images still standing, two forward
    passes and one backward pass for each candidate class but the true one. What is returned: see
    `MinimumNorm`.

    Args:
        eps: optional budget in `norm`, in pixel units of [0, 1] images; None = none.
        norm: `l2` or `linf`, the distance that is kept small.
        steps: most steps, >= 1.
        overshoot: how far a step goes beyond the boundary, relative to its length, >= 0.
        candidates: classes that are tried, the true one and the most likely others on the clean
            image, >= 2; None = all.
        target: must be None.
        criterion: when an image counts as fooled; None = another class.

    Raises:
        ValueError: a target is given.
    """

    dense: ClassVar[bool] = False

    def __init__(
        self,
        eps: float | str | None = None,
        *,
        steps: int = 50,
        norm: str = "l2",
        overshoot: float = 0.02,
        candidates: int | None = 10,
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        if target is not None:
            raise ValueError(
                f"attack.target={type(target).__name__}: DeepFool leaves a class for the nearest "
                "other and has no target; set attack/target=null, or attack=ddn, fmn or cw_l2"
            )
        self.norm = known_norm(norm)
        super().__init__(eps, criterion=criterion)
        self.steps = whole(steps, "attack.steps", low=1)
        self.overshoot = fraction(overshoot, "attack.overshoot", high=10.0)
        self.candidates = (
            candidates if candidates is None else whole(candidates, "attack.candidates", low=2)
        )

    def search(
        self, surrogate: Surrogate, goal: Goal, closest: Closest, rows: Tensor, seeds: Tensor
    ) -> None:
        """Step until the image is misclassified; who is leaves the batch."""
        clean, goal, seeds = closest.x[rows], goal.at(rows), seeds[rows]
        classes = surrogate(clean[:1], seeds[:1]).logits.shape[1]
        rivals = self._rivals(surrogate, clean, goal.labels, seeds, classes)
        point = clean.to(torch.promote_types(clean.dtype, torch.float32))
        push = torch.full((len(rows),), _NUDGE, dtype=torch.float64, device=clean.device)
        for step in range(self.steps):
            shown, noise = point.to(clean.dtype), fold_in(seeds, step)
            own = goal.labels.unsqueeze(0)
            weights = one_hot(rivals, classes) - one_hot(own, classes)
            logits, grads = _jacobian(surrogate, shown, weights, noise)
            gaps = logits.T.gather(0, rivals) - logits.T.gather(0, own)
            point, push = self._step(point, gaps, grads.to(point.dtype), push)
            shown, noise = point.to(clean.dtype), fold_in(seeds, step + 1)
            loss, reached = surrogate.value(shown, goal, seeds=noise)
            closest.offer(rows, shown, reached, loss)
            stay = (~reached).nonzero().flatten()
            if len(stay) == 0:
                return
            if len(stay) < len(rows):
                rows, goal, seeds = rows[stay], goal.at(stay), seeds[stay]
                rivals, point, push = rivals[:, stay], point[stay], push[stay]

    def _rivals(
        self, surrogate: Surrogate, x: Tensor, y: Tensor, seeds: Tensor, classes: int
    ) -> Tensor:
        """The candidate classes other than `y`, int64 (M, N)."""
        if self.candidates is None or self.candidates >= classes:  # all of them: no need to look
            return (y + torch.arange(1, classes, device=y.device).unsqueeze(1)) % classes
        others = surrogate(x, seeds).logits.scatter(1, y.unsqueeze(1), -torch.inf)
        return others.topk(self.candidates - 1, dim=1).indices.T

    def _slopes(self, grads: Tensor) -> Tensor:
        """Dual norm of each gradient, float64 (M, N)."""
        order = {"l2": 2.0, "linf": 1.0}[self.norm]
        return norm_of(grads.flatten(0, 1), order, dtype=torch.float64).view(grads.shape[:2])

    def _step(
        self, point: Tensor, gaps: Tensor, grads: Tensor, push: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The next points, and what they are to be pushed by.

        Args:
            point: (N, C, H, W).
            gaps: (M, N), logit differences f_k.
            grads: (M, N, C, H, W), their gradients w_k.
            push: (N,), added to the distance.
        """
        free = feasible(grads, point)
        whole_slopes, free_slopes = self._slopes(grads), self._slopes(free)
        slopes = whole_slopes.minimum(_LEAST_SHARE[self.norm] * free_slopes)
        away = (gaps.double().abs() / slopes).nan_to_num(nan=torch.inf)  # 0 / 0: no way there
        nearest, which = away.min(dim=0)
        image = torch.arange(len(point), device=point.device)
        toward = free[which, image]
        if self.norm == "linf":
            direction, diameter = toward.sign(), 1.0
        else:
            slope = slopes[which, image].view(-1, 1, 1, 1)
            direction = (toward / slope).to(point.dtype)
            diameter = math.sqrt(point[0].numel())
        length = ((1 + self.overshoot) * (nearest + push)).clamp(max=diameter)
        length = length.where(nearest.isfinite(), 0.0).view(-1, 1, 1, 1)  # no gradient: stay
        moved = point + length.to(point.dtype) * direction.nan_to_num()
        return moved.clamp_(0, 1), torch.where(nearest < push, 2 * push, push)


def _jacobian(
    surrogate: Surrogate, x: Tensor, weights: Tensor, seeds: Tensor
) -> tuple[Tensor, Tensor]:
    """`surrogate.logits_and_grads`; the last few images take one pass over a copy per gradient.

    A batch that small costs as much as a larger one, so a pass per gradient would be wasted on it.
    """
    count = len(weights)
    if len(x) > _FEW:
        return surrogate.logits_and_grads(x, weights, seeds=seeds)
    logits, grads = surrogate.logits_and_grads(
        x.repeat(count, 1, 1, 1), weights.flatten(0, 1).unsqueeze(0), seeds=seeds.repeat(count)
    )
    return logits[: len(x)], grads.view(count, *x.shape)
