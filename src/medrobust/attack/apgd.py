"""APGD: projected gradient descent that chooses its own step sizes."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Self, Unpack

import torch
from torch import Tensor

from medrobust.attack.core.ball import Ball, L2Ball, LinfBall
from medrobust.attack.core.best import Best
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.iterated import Iterate, Iterated
from medrobust.attack.core.norm import known_norm
from medrobust.attack.core.options import LossRestartOptions
from medrobust.attack.core.step import StepRule, sign, unit_l2
from medrobust.number import fraction
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Surrogate

NORMS: dict[str, tuple[Callable[[Tensor, float], Ball], StepRule]] = {
    "linf": (LinfBall, sign),
    "l2": (L2Ball, unit_l2),
}


class APGD(Iterated):
    """Steps with momentum that are halved, image by image, when the loss stops rising.

    Croce and Hein 2020, "Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse
    Parameter-free Attacks", algorithm 1: z = Proj(x_t + a_t * s(grad)), x_{t+1} = Proj(x_t + m *
    (z - x_t) + (1 - m) * (x_t - x_{t-1})), from a random start. At the steps of `checkpoints`, an
    image whose loss rose in at most `rho` of the steps since the last one, or whose best loss has
    not risen although its step was not halved there, halves its step and goes back to its best
    point.

    What is returned: see `Iterated`, but here the random start is a candidate too, since its loss
    is known at no price and the authors' code counts it. Noise of a randomized surrogate is
    averaged by the surrogate (`threat.eot_samples`), not here.

    Args:
        eps: radius in pixel units of [0, 1] images; a number or `8/255`.
        norm: `linf` or `l2`.
        steps: gradient steps per restart, >= 1.
        step_size: a_0, in pixel units; None = 2 * eps.
        rho: share of rising steps, in [0, 1], up to which a step size counts as too large.
        momentum: m, in (0, 1]; 1 = none.
        **options: `early_stop`, `target`, `criterion`, `loss`, `restarts`; see `Iterated`.
    """

    random_start: ClassVar[bool] = True

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        norm: str = "linf",
        rho: float = 0.75,
        momentum: float = 0.75,
        **options: Unpack[LossRestartOptions],
    ) -> None:
        self.norm = known_norm(norm)
        super().__init__(eps, steps=steps, **options)
        self.rho = fraction(rho, "attack.rho")
        self.momentum = fraction(momentum, "attack.momentum", above=True)

    def default_step_size(self) -> float:
        """2 * eps."""
        return 2 * self.eps

    def step_rule(self) -> StepRule:
        """Sign of the gradient, or in L2 the gradient at length one."""
        return NORMS[self.norm][1]

    def _climb(
        self,
        surrogate: Surrogate,
        x: Tensor,
        goal: Goal,
        rows: Tensor,
        seeds: Tensor,
        best: Best,
    ) -> None:
        rule, windows = self.step_rule(), checkpoints(self.steps)
        x, goal, seeds = x[rows], goal.at(rows), seeds[rows]
        ball = NORMS[self.norm][0](x, self.eps)
        start = ball.draw(seeds) if goal.start is None else goal.start
        walk = Walk.start(start.to(ball.dtype), self.step_size)
        for step in range(self.steps):
            shown, noise = ball.shown(walk.point), fold_in(seeds, step)
            seen = self.gradient(surrogate, Iterate(shown, goal, ball, None, noise))
            loss, reached = self._verdict(surrogate, shown, goal, seen, noise)
            best.offer(rows, shown, loss, reached)
            walk = walk.seen(seen.grad, loss)
            if self.early_stop:
                stay = (~reached).nonzero().flatten()
                if len(stay) == 0:
                    return
                if len(stay) < len(rows):
                    rows, walk, ball = rows[stay], walk.at(stay), ball.at(stay)
                    goal, seeds = goal.at(stay), seeds[stay]
            if step in windows:
                walk = walk.reviewed(windows[step], self.rho)
            aim = ball.project(walk.point + walk.size * rule(walk.grad, None)[0])
            share = self.momentum if step else 1.0
            drift = (1 - share) * (walk.point - walk.previous)
            walk = walk.moved(ball.project(walk.point + share * (aim - walk.point) + drift))
        shown, noise = ball.shown(walk.point), fold_in(seeds, self.steps)
        best.offer(rows, shown, *surrogate.value(shown, goal, seeds=noise))
        if not surrogate.exact:
            self._recheck(surrogate, shown, goal, rows, noise, best)


class Walk(NamedTuple):
    """State of the images of a climb, one row per image.

    Attributes:
        point: (N, C, H, W), where each image stands.
        previous: where it stood before.
        grad: gradient at `point`.
        peak: its point of the highest loss so far.
        peak_grad: the gradient there.
        size: (N, 1, 1, 1), its step size.
        loss: (N,) the last loss seen.
        peak_loss: (N,) the highest.
        checked: (N,) the highest at the last checkpoint.
        rises: int64 (N,), steps since then on which the loss rose.
        halved: bool (N,), whether the step was halved then.
    """

    point: Tensor
    previous: Tensor
    grad: Tensor
    peak: Tensor
    peak_grad: Tensor
    size: Tensor
    loss: Tensor
    peak_loss: Tensor
    checked: Tensor
    rises: Tensor
    halved: Tensor

    @classmethod
    def start(cls, point: Tensor, size: float) -> Self:
        """Start at `point` (N, C, H, W), before the first gradient."""
        row = point.new_full((len(point),), torch.inf)
        zero = torch.zeros_like(point)
        return cls(
            point=point,
            previous=point,
            grad=zero,
            peak=point,
            peak_grad=zero,
            size=point.new_full((len(point), 1, 1, 1), size),
            loss=row,  # so that the first loss is no rise
            peak_loss=-row,
            checked=-row,
            rises=torch.zeros_like(row, dtype=torch.int64),
            halved=torch.ones_like(row, dtype=torch.bool),  # so that the first window needs rises
        )

    def at(self, index: Tensor) -> Self:
        """The walks of a subset of the images."""
        return type(self)(*(part[index] for part in self))

    def seen(self, grad: Tensor, loss: Tensor) -> Self:
        """Return the state with the gradient at `point` and its loss (N,)."""
        grad, loss = grad.to(self.point.dtype), loss.to(self.loss.dtype)
        higher = loss > self.peak_loss
        pixel = higher.view(-1, 1, 1, 1)
        return self._replace(
            grad=grad,
            loss=loss,
            peak=self.point.where(pixel, self.peak),
            peak_grad=grad.where(pixel, self.peak_grad),
            peak_loss=loss.where(higher, self.peak_loss),
            rises=self.rises + (loss > self.loss),
        )

    def reviewed(self, window: int, rho: float) -> Self:
        """Halve step sizes that are too large, at a checkpoint `window` steps after the last."""
        stuck = ~self.halved & (self.checked >= self.peak_loss)
        halve = (self.rises <= rho * window) | stuck
        pixel = halve.view(-1, 1, 1, 1)
        return self._replace(
            point=self.peak.where(pixel, self.point),
            grad=self.peak_grad.where(pixel, self.grad),
            size=(self.size / 2).where(pixel, self.size),
            checked=self.peak_loss,
            rises=torch.zeros_like(self.rises),
            halved=halve,
        )

    def moved(self, point: Tensor) -> Self:
        """Return the state after a step."""
        return self._replace(point=point, previous=self.point)


def checkpoints(steps: int) -> dict[int, int]:
    """Steps after which step sizes are reviewed, with the steps since the last review.

    Windows of 22 % of all steps, each 3 % shorter than the one before, never below 6 %, rounded
    down as in the authors' code: 22, 41, 57, 70, 80, 87, 93 and 99 of 100.
    """
    window, shrink, least = (max(int(share * steps), 1) for share in (0.22, 0.03, 0.06))
    windows, at = {}, window
    while at < steps:
        windows[at] = window
        window = max(window - shrink, least)
        at += window
    return windows
