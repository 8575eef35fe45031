"""CW in L2: the attack of Carlini and Wagner that trades distance against margin."""

import math
from typing import Unpack

import torch
from torch import Tensor

from medrobust.attack.core.ball import norm
from medrobust.attack.core.closest import Closest
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.minimum_norm import MinimumNorm, judged
from medrobust.attack.core.options import Options
from medrobust.attack.loss.margin import Margin
from medrobust.number import fraction, whole
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Surrogate

_INSIDE = 0.95  # share of tanh's range that [0, 1] takes
_PATIENCE = 50  # steps; Adam swings across the boundary and back for about thirty
_BETA = (0.9, 0.999)  # Adam's


class CWL2(MinimumNorm):
    """Adam on ||x' - x||^2 + c * max(confidence - margin, 0), with x' = (tanh(w) + 1) / 2.

    Carlini and Wagner 2017, "Towards Evaluating the Robustness of Neural Networks", sections V and
    VI: f_6 as the margin, a change of variables that keeps x' in the box, and a binary search for
    the smallest c that succeeds: c times ten until it does, then halving the interval; with ten
    stages or more, the last repeats the smallest c that did.

    Where it parts from the authors' code, so that an image has the same result in any batch and a
    black border can move:

    - the box takes only 0.95 of tanh's range, since tanh is flat at its ends: there a pixel of
      exactly 0 or 1 could not leave; x' is cut to [0, 1], and Adam's gradient is that of the
      uncut x', so that no pixel is caught at the cut;
    - the abort rule looks at each image alone, and at the best loss of a tenth of the steps, of
      50 at least, since Adam first overshoots the boundary and then comes back.

    Success compares logits with each other only, so a shift of all logits changes nothing.
    Cost per stage: `steps` forward and backward passes, one forward; less for images that stop.
    What is returned: see `MinimumNorm`.

    Args:
        eps: optional budget, an L2 radius in pixel units of [0, 1] images; None = none.
        steps: steps of Adam per stage, >= 1.
        lr: Adam's learning rate, above 0.
        initial_const: the first c, above 0.
        binary_search_steps: stages of the search for c, >= 1; 1 = `initial_const` as it is.
        confidence: margin in logit units that counts as success, >= 0. For masks it shapes the
            loss only; success is that of the task.
        abort_early: an image leaves a stage when a tenth of its steps, at least 50, did not lower
            its loss.
        **options: `target`, `criterion`; see `Attack`.
    """

    norm = "l2"

    def __init__(
        self,
        eps: float | str | None = None,
        *,
        steps: int,
        lr: float = 0.01,
        initial_const: float = 1e-3,
        binary_search_steps: int = 9,
        confidence: float = 0.0,
        abort_early: bool = True,
        **options: Unpack[Options],
    ) -> None:
        self.confidence = fraction(confidence, "attack.confidence", high=1e9)
        super().__init__(eps, loss=Margin(confidence), **options)
        self.steps = whole(steps, "attack.steps", low=1)
        self.lr = fraction(lr, "attack.lr", high=100.0, above=True)
        self.initial_const = fraction(initial_const, "attack.initial_const", high=1e10, above=True)
        self.stages = whole(binary_search_steps, "attack.binary_search_steps", low=1)
        self.abort_early = abort_early

    def search(
        self, surrogate: Surrogate, goal: Goal, closest: Closest, rows: Tensor, seeds: Tensor
    ) -> None:
        """Adam once per stage, from the clean image, with each image's own c."""
        dtype = torch.promote_types(closest.x.dtype, torch.float32)
        c = torch.full((len(rows),), self.initial_const, dtype=dtype, device=rows.device)
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
        for stage in range(self.stages):
            if stage == self.stages - 1 >= 9:
                c = high.where(high.isfinite(), c)
            fresh = fold_in(seeds, stage)
            found = self._descend(surrogate, goal, closest, rows, c, fresh)
            high = torch.where(found, high.minimum(c), high)
            low = torch.where(found, low, low.maximum(c))
            c = torch.where(high.isfinite(), (low + high) / 2, (10 * c).clamp(max=1e10))

    def _descend(
        self,
        surrogate: Surrogate,
        goal: Goal,
        closest: Closest,
        rows: Tensor,
        c: Tensor,
        seeds: Tensor,
    ) -> Tensor:
        """One stage over the images in `rows`; bool (M,), which of them succeeded."""
        found = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        index = torch.arange(len(rows), device=rows.device)  # of those still in the stage
        goal, seeds = goal.at(rows), seeds[rows]
        clean = closest.x[rows]
        x = clean.to(c.dtype)
        w = _atanh(_INSIDE * (2 * x - 1))
        first, second = torch.zeros_like(w), torch.zeros_like(w)  # Adam's moments
        lowest, before = torch.full_like(c, torch.inf), torch.full_like(c, torch.inf)
        window = max(_PATIENCE, math.ceil(self.steps / 10))
        for step in range(self.steps):
            image, slope = _image(w)
            shown, noise = image.to(clean.dtype), fold_in(seeds, step)
            seen = surrogate.value_and_grad(shown, goal, seeds=noise)
            margin, reached = judged(surrogate, shown, goal, seen, seeds=noise)
            reached = self._sure(goal, margin, reached)
            closest.offer(rows, shown, reached, margin)
            found[index] |= reached
            change = image - x
            grad = (2 * change - c.view(-1, 1, 1, 1) * seen.grad.to(c.dtype)) * slope
            first.lerp_(grad, 1 - _BETA[0])
            second.mul_(_BETA[1]).addcmul_(grad, grad, value=1 - _BETA[1])
            rate = self.lr / (1 - _BETA[0] ** (step + 1))
            scale = second.sqrt().div_(math.sqrt(1 - _BETA[1] ** (step + 1))).add_(1e-8)
            w = w.addcdiv(first, scale, value=-rate)
            if not self.abort_early:
                continue
            total = norm(change).flatten().square() + c * (self.confidence - margin.to(c.dtype))
            lowest = lowest.minimum(total)
            if (step + 1) % window or step + 1 == self.steps:
                continue
            stay = (lowest < 0.9999 * before).nonzero().flatten()
            if len(stay) == 0:
                return found
            if len(stay) < len(rows):
                rows, index, goal, seeds = rows[stay], index[stay], goal.at(stay), seeds[stay]
                clean, x, w, c = clean[stay], x[stay], w[stay], c[stay]
                first, second, lowest = first[stay], second[stay], lowest[stay]
            before = lowest
        shown, noise = _image(w)[0].to(clean.dtype), fold_in(seeds, self.steps)
        margin, reached = surrogate.value(shown, goal, seeds=noise)
        reached = self._sure(goal, margin, reached)
        closest.offer(rows, shown, reached, margin)
        found[index] |= reached
        return found

    def _sure(self, goal: Goal, margin: Tensor, reached: Tensor) -> Tensor:
        """Success with the wanted confidence; `margin` is cut at it. Bool (N,)."""
        if self.confidence == 0 or goal.labels.ndim > 1:
            return reached
        return reached & (margin >= margin.new_tensor(self.confidence))


def _image(w: Tensor) -> tuple[Tensor, Tensor]:
    """The images of `w`, in [0, 1], and their derivative before the cut to [0, 1]."""
    bent = w.tanh()
    image = ((bent / _INSIDE + 1) / 2).clamp_(0, 1)
    return image, (1 - bent.square()) / (2 * _INSIDE)


def _atanh(value: Tensor) -> Tensor:
    """Inverse of tanh; `torch.atanh` rounds a number differently at another place in memory."""
    return (torch.log1p(value) - torch.log1p(-value)) / 2
