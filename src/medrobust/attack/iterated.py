"""The loop that every iterated gradient attack shares: look, step, project."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from medrobust.attack.ball import Ball, LinfBall
from medrobust.attack.base import Attack, AttackError
from medrobust.attack.best import Best
from medrobust.attack.goal import Goal
from medrobust.attack.objective import Objective
from medrobust.attack.step import StepRule
from medrobust.attack.success import Success
from medrobust.attack.target import Target
from medrobust.number import fraction, whole
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Surrogate


class Iterated(Attack):
    """`steps` looks at the surrogate, each followed by a step and a projection.

    Returned is, per image, the point that ranks best by (reached the goal, loss) among all points
    that the attack stepped to, in every restart, the last point included at the price of one
    forward pass. The start, clean or random, is no candidate: with one step the result is that
    step, as in FGSM. Cost per restart: `steps` forward and backward passes, one forward.

    A subclass names its ball, its step rule and its default step size.

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
        objective: loss to maximise; None = the attack's own.
        target: rule that chooses target classes; None = untargeted.
        success: when an image counts as fooled; None = by task.
    """

    eps: float
    ball: ClassVar[type[Ball]] = LinfBall
    random_start: ClassVar[bool] = False

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        step_size: float | str | None,
        early_stop: bool,
        restarts: int = 1,
        objective: Objective | None,
        target: Target | None,
        success: Success | None,
    ) -> None:
        super().__init__(eps, objective=objective, target=target, success=success)
        self.steps = whole(steps, "attack.steps", low=1)
        self.restarts = whole(restarts, "attack.restarts", low=1)
        self.early_stop = early_stop
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

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """Climb once per restart and return the best points."""
        best = Best(x)
        rows = torch.arange(len(x), device=x.device)
        for restart in range(self.restarts):
            if self.early_stop and restart:
                rows = (~best.reached).nonzero().flatten()
            if len(rows):
                self._climb(surrogate, x, goal, rows, fold_in(seeds, restart), best)
        if best.undefined.any():
            places = best.undefined.nonzero().flatten().tolist()
            raise AttackError(
                f"{type(self).__name__}: the loss is NaN for images {places} of the batch; look "
                "at the surrogate's logits and gradients there"
            )
        return best.image

    def _climb(
        self,
        surrogate: Surrogate,
        x: Tensor,
        goal: Goal,
        rows: Tensor,
        seeds: Tensor,
        best: Best,
    ) -> None:
        """One restart over the images in `rows`; offers every point to `best`."""
        rule, memory = self.step_rule(), None
        x, goal, seeds = x[rows], goal.at(rows), seeds[rows]
        ball = self.ball(x, self.eps)
        point = ball.draw(seeds) if self.random_start else ball.centre
        for step in range(self.steps):
            shown = ball.shown(point)
            seen = surrogate.value_and_grad(shown, goal, seeds=fold_in(seeds, step))
            grad = seen.grad.to(point.dtype)
            if step:
                best.offer(rows, shown, seen.loss, seen.reached)
                if self.early_stop:
                    stay = (~seen.reached).nonzero().flatten()
                    if len(stay) == 0:
                        return
                    if len(stay) < len(rows):
                        rows, point, grad = rows[stay], point[stay], grad[stay]
                        ball, goal, seeds = ball.at(stay), goal.at(stay), seeds[stay]
                        memory = None if memory is None else memory[stay]
            direction, memory = rule(grad, memory)
            point = ball.project(point + self.step_size * direction)
        shown = ball.shown(point)
        best.offer(rows, shown, *surrogate.value(shown, goal, seeds=fold_in(seeds, self.steps)))
