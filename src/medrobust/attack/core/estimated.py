"""Base class of score-based attacks that climb an estimated gradient."""

from abc import abstractmethod
from typing import Unpack

import torch
from torch import Tensor

from medrobust.attack.core.ball import Ball, LinfBall
from medrobust.attack.core.best import Best
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.options import QueryOptions
from medrobust.attack.core.query import Oracle, QueryAttack
from medrobust.attack.core.step import StepRule
from medrobust.attack.loss.margin import Margin
from medrobust.number import whole
from medrobust.rng import fold_in


class Estimated(QueryAttack):
    """Query mirrored pairs around a point, estimate the gradient, step, project, query there.

    A pair is proj(x + w v) and proj(x - w v) for a random direction v of the image's own, where
    proj is the projection to the L∞ ball and [0, 1]: no question leaves what the attacker may
    submit, and each is a candidate. Where a pixel was cut the pair is less than 2 w apart there,
    so the estimate divides by the distance that was really queried. With t_p the difference of pair
    p at a pixel and L_p that of its losses, it is sum_p L_p t_p / sum_p t_p^2: the mean of L_p /
    t_p for directions of signs, unbiased for a linear loss wherever the cut falls.

    Each step costs 2 * samples + 1 queries. An image leaves after the step in which any of its
    queries reached the goal. On a randomized surrogate only the point that was stepped to counts:
    the estimates average its noise, a single answer on the way does not.

    A subclass names its directions and its step rule.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: >= 1.
        samples: pairs per step, >= 1.
        width: w, distance of a pair from the point, in pixel units.
        step_size: factor of the step rule's direction, in pixel units.
        queries: budget per image, for the clean one and at least one step; a step that it cannot
            pay is not begun. None = what all steps cost.
        loss: loss to maximise; None = the margin.
        **options: `chunk`, `target`, `criterion`; see `QueryAttack`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        samples: int,
        width: float,
        step_size: float,
        queries: int | None = None,
        loss: Loss | None = None,
        **options: Unpack[QueryOptions],
    ) -> None:
        self.samples = whole(samples, "attack.samples", low=1)
        wanted, each = whole(steps, "attack.steps", low=1), 2 * self.samples + 1
        if queries is not None:
            wanted = min(wanted, (whole(queries, "attack.queries", low=1 + each) - 1) // each)
        self.steps = wanted
        super().__init__(
            eps,
            queries=1 + each * wanted,
            loss=loss or Margin(),
            **options,
        )
        self.width, self.step_size = width, step_size

    @abstractmethod
    def directions(self, seeds: Tensor, shape: torch.Size) -> Tensor:
        """One random direction per seed, float (N, *shape), each number of variance 1."""

    @abstractmethod
    def step_rule(self) -> StepRule:
        """Return the rule that turns the estimated gradient into the direction of a step."""

    def search(self, oracle: Oracle, best: Best, rows: Tensor) -> None:
        """Climb from the clean images, as long as there are queries for a step."""
        rows = rows[oracle.left(rows) > 2 * self.samples]
        if len(rows) == 0:
            return
        rule, memory = self.step_rule(), None
        ball: Ball = LinfBall(oracle.x[rows], self.eps)
        point = ball.centre
        for step in range(self.steps):
            grad = self.estimate(oracle, best, rows, ball, point, fold_in(oracle.seeds[rows], step))
            direction, memory = rule(grad, memory)
            point = ball.project(point + self.step_size * direction)
            shown = ball.shown(point)
            loss, reached = oracle.query(rows, shown)
            if oracle.random:
                loss = loss.where(loss.isnan(), torch.inf)  # so that the last point stands
                reached = oracle.done(rows, shown, reached)
            best.offer(rows, shown, loss, reached)
            pays = oracle.left(rows) > 2 * self.samples
            stay = (~best.reached[rows] & pays).nonzero().flatten()
            if len(stay) == 0:
                return
            if len(stay) < len(rows):
                rows, point, ball = rows[stay], point[stay], ball.at(stay)
                memory = None if memory is None else memory[stay]

    def estimate(
        self, oracle: Oracle, best: Best, rows: Tensor, ball: Ball, point: Tensor, seeds: Tensor
    ) -> Tensor:
        """Estimated gradient at `point` (M, C, H, W); offers what was answered for good to `best`.

        Pairs pass in groups that fill a chunk. Sums run pair after pair, so that they do not
        depend on how many fit.
        """
        weighted, squares = torch.zeros_like(point), torch.zeros_like(point)
        group = max(1, self.chunk // (2 * len(rows)))
        for first in range(0, self.samples, group):
            number = torch.arange(first, min(first + group, self.samples), device=seeds.device)
            noise = fold_in(seeds, number[:, None]).flatten()
            drawn = self.directions(noise, point.shape[1:]).view(-1, *point.shape)
            pairs = torch.stack(
                [
                    ball.shown(ball.project(point + side * self.width * drawn.to(point.dtype)))
                    for side in (1, -1)
                ],
                dim=1,
            )
            asked = pairs.flatten(0, 1)
            loss, reached = oracle.query(rows, asked)
            if oracle.random:
                best.undefined[rows] |= loss.isnan().any(0)
            else:
                best.offer(rows, *_first(asked, loss, reached))
            rise = loss.view(-1, 2, len(rows)).to(point.dtype)
            for (up, down), (high, low) in zip(pairs.to(point.dtype), rise, strict=True):
                apart = up - down
                weighted += (high - low).view(-1, 1, 1, 1) * apart
                squares += apart * apart
        return weighted / squares.clamp(min=torch.finfo(squares.dtype).tiny)


def _first(images: Tensor, loss: Tensor, reached: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, of P candidates (P, M, C, H, W) per image, the one that `Best` would keep."""
    rank = loss.where(reached | ~reached.any(0), -torch.inf)
    undefined = loss.isnan()
    rank = rank.where(~undefined, torch.inf)  # so that the caller hears of it
    chosen = len(loss) - 1 - rank.flip(0).argmax(0)  # the last of equals
    at = torch.arange(loss.shape[1], device=loss.device)
    return images[chosen, at], loss[chosen, at], reached[chosen, at]
