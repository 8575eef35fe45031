"""The loop that every iterated gradient attack shares: gradient, step, projection."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor

from medrobust.attack.core.ball import Ball, LinfBall
from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.best import Best
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.options import LossOptions
from medrobust.attack.core.step import StepRule
from medrobust.number import fraction, whole
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Gradient, Surrogate

Watcher = Callable[[Tensor, int, Tensor, Tensor], None]
"""Told of every step: which images moved (M,), the step's number in its restart, counted from 0,
and the points (M, C, H, W) before and after."""


class Iterate(NamedTuple):
    """State of an iterated attack before a gradient.

    Attributes:
        point: images (N, C, H, W).
        goal: loss and criterion of these images.
        ball: around their clean images.
        memory: of the step rule, (N, ...) or None at the start.
        seeds: int64 (N,), fresh at each step.
    """

    point: Tensor
    goal: Goal
    ball: Ball
    memory: Tensor | None
    seeds: Tensor


class Iterated(Attack):
    """Take `steps` gradients of the surrogate, each followed by a step and a projection.

    Returned is, per image, the point that ranks best by (reached the goal, loss) among all points
    that the attack stepped to, in every restart, the last point included at the price of one
    forward pass. The start, clean or random, is no candidate: with one step the result is that
    step, as in FGSM. Cost per restart: `steps` forward and backward passes, one forward.

    A subclass names its ball, its step rule and its default step size, and may change where the
    gradient is taken (`gradient`).

    Args:
        eps: radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps per restart, >= 1.
        step_size: length of a step in pixel units, a number or a fraction; None = the
            attack's own rule.
        restarts: independent random starts, >= 1.
        early_stop: an image leaves the batch once a point it stepped to reaches the goal. The
            set of fooled images is the same on the surrogate itself and costs far fewer passes,
            but the point has only just crossed the boundary: weaker against what the attack did
            not see, a defense or another model.
        **options: `loss`, `target`, `criterion`; see `Attack`.
    """

    eps: float
    ball: ClassVar[type[Ball]] = LinfBall
    random_start: ClassVar[bool] = False
    _watchers: tuple[Watcher, ...] = ()
    gradient_at_point: bool = True
    """False where `gradient` is taken at other images than the point (transformed, ahead of it):
    then only the last point is judged, by one forward pass, or every point with early stopping."""

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        step_size: float | str | None = None,
        restarts: int = 1,
        early_stop: bool = False,
        **options: Unpack[LossOptions],
    ) -> None:
        super().__init__(eps, **options)
        self.steps = whole(steps, "attack.steps", low=1)
        self.restarts = whole(restarts, "attack.restarts", low=1)
        self.early_stop = self.single_draw = early_stop
        if step_size is None:
            self.step_size = self.default_step_size()
        else:
            self.step_size = fraction(
                step_size, "attack.step_size", high=self.largest_eps, above=True
            )

    @abstractmethod
    def default_step_size(self) -> float:
        """The step when the config gives none, from `self.eps` and `self.steps`."""

    @abstractmethod
    def step_rule(self) -> StepRule:
        """The direction of a step."""

    def size_at(self, step: int) -> float:
        """Length of a step, counted from 0; the same for all unless a subclass has a schedule."""
        return self.step_size

    @property
    def largest_step(self) -> float:
        """Length of the longest step, in units of `step_size`."""
        return max(self.size_at(step) for step in range(self.steps))

    @contextmanager
    def watched(self, watcher: Watcher) -> Iterator[None]:
        """Call the watcher after every step inside the block; no result changes."""
        self._watchers = (*self._watchers, watcher)
        try:
            yield
        finally:
            self._watchers = tuple(one for one in self._watchers if one is not watcher)

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """Climb once per restart and return the best points."""
        best = Best(x)
        rows = torch.arange(len(x), device=x.device)
        for restart in range(self.restarts):
            if self.early_stop and restart:
                rows = (~best.reached).nonzero().flatten()
            if len(rows):
                self._climb(surrogate, x, goal, rows, fold_in(seeds, restart), best)
        return self._defined(best)

    def _defined(self, best: Best) -> Tensor:
        """The best images, if every loss was a number."""
        if best.undefined.any():
            places = best.undefined.nonzero().flatten().tolist()
            raise AttackError(
                f"{type(self).__name__}: the loss is NaN for images {places} of the batch; check "
                "the surrogate's logits and gradients there"
            )
        return best.image

    def gradient(self, surrogate: Surrogate, at: Iterate) -> Gradient:
        """Return what the step is made from: here the gradient at the point itself.

        Args:
            surrogate: model that is differentiated.
            at: where the attack stands.

        Returns:
            `grad` is what the step rule takes, with one row per image; `loss` and `reached` are
            the point's own where `gradient_at_point`, and ignored elsewhere.
        """
        return surrogate.value_and_grad(at.point, at.goal, seeds=at.seeds)

    def _climb(
        self,
        surrogate: Surrogate,
        x: Tensor,
        goal: Goal,
        rows: Tensor,
        seeds: Tensor,
        best: Best,
    ) -> None:
        """One restart over the images in `rows`; offers the points it judges to `best`."""
        rule, seeds = self.step_rule(), seeds[rows]
        ball = self.ball(x[rows], self.eps)
        goal = goal.at(rows)
        start = ball.draw(seeds) if self.random_start else ball.centre
        start = start if goal.start is None else goal.start.to(start.dtype)
        now = _Standing(rows, ball, replace(goal, start=None), seeds, start, None)
        for step in range(self.steps):
            shown, noise = now.ball.shown(now.point), fold_in(now.seeds, step)
            if step and self.early_stop and not self.gradient_at_point:
                # Before the gradient: images that leave the batch cost none.
                loss, reached = surrogate.value(shown, now.goal, seeds=noise)
                best.offer(now.rows, shown, loss, reached)
                stay = (~reached).nonzero().flatten()
                if len(stay) == 0:
                    return
                now, shown, noise = now.at(stay), shown[stay], noise[stay]
            seen = self.gradient(surrogate, Iterate(shown, now.goal, now.ball, now.memory, noise))
            grad = seen.grad.to(now.point.dtype)
            if step and self.gradient_at_point:
                loss, reached = self._verdict(surrogate, shown, now.goal, seen, noise)
                best.offer(now.rows, shown, loss, reached)
                if self.early_stop:
                    stay = (~reached).nonzero().flatten()
                    if len(stay) == 0:
                        return
                    now, grad = now.at(stay), grad[stay]
            direction, memory = rule(grad, now.memory)
            point = now.ball.project(now.point + self.size_at(step) * direction)
            for watcher in self._watchers:
                watcher(now.rows, step, now.point, point)
            now = now._replace(point=point, memory=memory)
        shown, noise = now.ball.shown(now.point), fold_in(now.seeds, self.steps)
        best.offer(now.rows, shown, *surrogate.value(shown, now.goal, seeds=noise))
        if not surrogate.exact:
            self._recheck(surrogate, shown, now.goal, now.rows, noise, best)

    def _verdict(
        self, surrogate: Surrogate, shown: Tensor, goal: Goal, seen: Gradient, seeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return loss and success of a point; they are exact for images that leave the batch."""
        if surrogate.exact or not self.early_stop or not seen.reached.any():
            return seen.loss, seen.reached
        guess = seen.reached.nonzero().flatten()
        reached = seen.reached.clone()
        reached[guess] = surrogate.value(shown[guess], goal.at(guess), seeds=seeds[guess])[1]
        return seen.loss, reached

    def _recheck(
        self,
        surrogate: Surrogate,
        last: Tensor,
        goal: Goal,
        rows: Tensor,
        seeds: Tensor,
        best: Best,
    ) -> None:
        """Reduced precision chose the best points: keep them where the exact answer agrees.

        Otherwise the last point stands, whose verdict is exact.
        """
        loss, reached = surrogate.value(best.image[rows], goal, seeds=seeds)
        wrong = (best.reached[rows] & ~reached).nonzero().flatten()
        best.loss[rows], best.reached[rows] = loss, reached
        if len(wrong):
            verdict = surrogate.value(last[wrong], goal.at(wrong), seeds=seeds[wrong])
            best.offer(rows[wrong], last[wrong], *verdict)


class _Standing(NamedTuple):
    """The images that are still in the batch, and what belongs to each."""

    rows: Tensor
    ball: Ball
    goal: Goal
    seeds: Tensor
    point: Tensor
    memory: Tensor | None

    def at(self, stay: Tensor) -> "_Standing":
        """Some of them; itself when all stay."""
        if len(stay) == len(self.rows):
            return self
        return _Standing(
            self.rows[stay],
            self.ball.at(stay),
            self.goal.at(stay),
            self.seeds[stay],
            self.point[stay],
            None if self.memory is None else self.memory[stay],
        )
