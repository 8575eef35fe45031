"""HopSkipJump: walks along the decision boundary with label queries only."""

from typing import ClassVar, Unpack

import torch
from torch import Tensor

from medrobust import rng
from medrobust.attack.core.ball import Ball, L2Ball, LinfBall, norm
from medrobust.attack.core.best import Best
from medrobust.attack.core.norm import distance, known_norm
from medrobust.attack.core.options import QueryOptions
from medrobust.attack.core.query import Oracle, QueryAttack
from medrobust.attack.core.scales import random_cells
from medrobust.attack.core.step import StepRule, sign, unit_l2
from medrobust.number import fraction, whole

BALLS: dict[str, type[Ball]] = {"l2": L2Ball, "linf": LinfBall}
STEEPEST: dict[str, StepRule] = {"l2": unit_l2, "linf": sign}


class HopSkipJump(QueryAttack):
    """Boundary search, gradient direction at the boundary, step; L2 or L∞, labels only.

    Chen, Jordan and Wainwright 2020, "HopSkipJumpAttack: A Query-Efficient Decision-Based
    Attack", algorithms 1 and 2, with the authors' constants: 100 sqrt(t) directions at step t,
    step lengths that start at distance / sqrt(t) and halve until the goal is reached.

    Differences, both for a known budget and small medical models: every boundary search queries at
    distance eps first, and the image leaves when the goal is reached there; starting images are
    random at every scale, from one colour to a value per pixel, since many models call all white
    noise one class. An image leaves when its budget does not pay for another estimate.

    On a randomized surrogate a candidate reaches the goal where `repeats` responses in a row do,
    and images leave only when certain. Probes are as long as the budget (the corner's distance in
    L∞): at the authors' length, made for a sharp boundary, noise alone decides which side answers.
    A boundary point nearer than eps is pushed out to it, for on the boundary itself half of the
    draws go either way.

    Returned is the boundary point, pulled back to eps where it is farther; the clean image where
    no start was found.

    Args:
        eps: radius in pixel units of [0, 1] images, in `norm`; a number or `8/255`.
        queries: budget per image; the first is the clean image.
        norm: `l2` or `linf`.
        repeats: identical responses of a randomized defense; directions of an estimate are queried
            once each, as in a system that is not random.
        starts: random images that may be tried as a start, >= 1.
        gamma: width of probes and bisections, in units of the authors' choice: distance / D, and
            distance / D^1.5 (L2) or / D^2 (L∞), for images of D numbers. Neither goes below what
            the images' dtype can show.
        **options: `chunk`, `target`, `criterion`; see `QueryAttack`.

    Raises:
        ValueError: `norm` is another.
    """

    hard_label: ClassVar[bool] = True

    def __init__(
        self,
        eps: float | str,
        *,
        queries: int,
        norm: str = "l2",
        repeats: int = 3,
        starts: int = 100,
        gamma: float = 1.0,
        **options: Unpack[QueryOptions],
    ) -> None:
        self.norm = known_norm(norm)
        super().__init__(eps, queries=queries, repeats=repeats, **options)
        self.starts = whole(starts, "attack.starts", low=1)
        self.gamma = fraction(gamma, "attack.gamma", high=1e6, above=True)

    def search(self, oracle: Oracle, best: Best, rows: Tensor) -> None:
        """One estimate, step and boundary search per turn, for all images that can pay."""
        rows, point = self._start(oracle, rows)
        if len(rows) == 0:
            return
        point = self._approach(oracle, best, rows, point)
        turn = 0
        while True:
            self._settle(oracle, best, rows, point)
            count = int(100 * (turn + 1) ** 0.5)
            stay = (~best.reached[rows] & (oracle.left(rows) > count)).nonzero().flatten()
            self._give_up(oracle, best, rows, point, stay)
            if len(stay) == 0:
                return
            rows, point = rows[stay], point[stay]
            away = distance(oracle.x[rows], point, self.norm)
            width = 0.1 if turn == 0 else self.gamma * away / point[0].numel()
            if oracle.random:
                width = self.eps * (point[0].numel() ** 0.5 if self.norm == "linf" else 1.0)
            uphill = self._estimate(oracle, rows, point, count, width, turn)
            point = self._step(oracle, rows, point, uphill, away / (turn + 1) ** 0.5)
            point = self._approach(oracle, best, rows, point)
            turn += 1

    def _give_up(
        self, oracle: Oracle, best: Best, rows: Tensor, point: Tensor, stay: Tensor
    ) -> None:
        """Offer the nearest point of the ball for images that leave without success."""
        leaves = ~best.reached[rows]
        leaves[stay] = False
        gone = leaves.nonzero().flatten()
        rows = rows[gone]
        image = self._answer(oracle, rows, point[gone])
        best.offer(rows, image, best.loss[rows], best.reached[rows])

    def _answer(self, oracle: Oracle, rows: Tensor, point: Tensor) -> Tensor:
        """The image of the ball that a boundary point stands for."""
        ball = BALLS[self.norm](oracle.x[rows], self.eps)
        out = point.to(ball.dtype)
        if oracle.random:
            away = distance(oracle.x[rows], point, self.norm).view(-1, 1, 1, 1)
            longer = (self.eps / away.clamp(min=torch.finfo(out.dtype).tiny)).clamp(min=1)
            out = (ball.centre + longer.to(out.dtype) * (out - ball.centre)).clamp(0, 1)
        return ball.shown(ball.project(out))

    def _settle(self, oracle: Oracle, best: Best, rows: Tensor, point: Tensor) -> None:
        """Offer what is certain for boundary points within eps, on a randomized surrogate."""
        if not oracle.random:
            return
        x, image = oracle.x[rows], self._answer(oracle, rows, point)
        won = oracle.done(rows, image, distance(x, point, self.norm) <= self.eps)
        best.offer(rows, *self._inside(image, best.loss[rows], won, x))

    def _start(self, oracle: Oracle, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Random images that reach the goal, and the rows for which there is one."""
        point = oracle.x[rows]
        shape = point.shape[1:]
        lacks = torch.ones_like(rows, dtype=torch.bool)
        for number in range(self.starts):
            asks = (lacks & (oracle.left(rows) > 0)).nonzero().flatten()
            if len(asks) == 0:
                break
            seeds = rng.fold_in(oracle.seeds[rows[asks]], 0)
            image = random_cells(seeds, number, shape).to(point.dtype)
            _, reached = oracle.sure(rows[asks], image)
            point[asks] = image.where(reached.view(-1, 1, 1, 1), point[asks])
            lacks[asks] = ~reached
        found = (~lacks).nonzero().flatten()
        return rows[found], point[found]

    def _approach(self, oracle: Oracle, best: Best, rows: Tensor, point: Tensor) -> Tensor:
        """Boundary points between the clean images and points that reach the goal.

        Offers every image that reaches the goal within eps.
        """
        x, size = oracle.x[rows], point[0].numel()
        away = distance(x, point, self.norm)
        low, high = torch.zeros_like(away), away.clone()
        won = (away <= self.eps) & (not oracle.random)
        best.offer(rows, *self._inside(point, best.loss[rows], won, x))
        relative = self.gamma / size ** {"l2": 1.5, "linf": 2.0}[self.norm]
        width = max(relative, torch.finfo(x.dtype).eps) * away
        while True:
            narrow = (high - low <= width) | best.reached[rows] | (oracle.left(rows) < 1)
            asks = (~narrow).nonzero().flatten()
            if len(asks) == 0:
                return self._between(x, point, away, high)
            beyond = (low >= self.eps) | (high <= self.eps)  # the answer at eps is known
            radius = ((low + high) / 2).where(beyond, self.eps)[asks]
            image = self._between(x[asks], point[asks], away[asks], radius)
            _, reached = oracle.sure(rows[asks], image)
            high[asks] = radius.where(reached, high[asks])
            low[asks] = radius.where(~reached, low[asks])
            won = reached & (radius <= self.eps) & (not oracle.random)
            best.offer(rows[asks], *self._inside(image, best.loss[rows[asks]], won, x[asks]))

    def _inside(
        self, image: Tensor, loss: Tensor, won: Tensor, x: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """An offer that counts only where `won`: elsewhere the loss is too small to be kept."""
        return image.where(won.view(-1, 1, 1, 1), x), loss.masked_fill(~won, -torch.inf), won

    def _between(self, x: Tensor, point: Tensor, away: Tensor, radius: Tensor) -> Tensor:
        """The image at distance `radius` <= `away` from `x`, toward `point`.

        L2: on the line between them. L∞: each number moves by at most the radius.
        """
        ball = BALLS[self.norm](x, self.eps)
        far, reach = (item.to(ball.dtype).view(-1, 1, 1, 1) for item in (away, radius))
        delta = point.to(ball.dtype) - ball.centre
        moved = delta * (reach / far) if self.norm == "l2" else delta.clamp(-reach, reach)
        within = ball.project(point.to(ball.dtype))
        image = within.where(reach <= self.eps, (ball.centre + moved).clamp(0, 1))
        return point.where((radius >= away).view(-1, 1, 1, 1), ball.shown(image))

    def _estimate(
        self,
        oracle: Oracle,
        rows: Tensor,
        point: Tensor,
        count: int,
        width: Tensor | float,
        turn: int,
    ) -> Tensor:
        """Direction into the goal's region at boundary points: unit L2, or signs for L∞.

        Equations 10 and 16 of the paper: the mean of directions weighted by their answer of 1 or
        -1, less the mean answer.
        """
        seeds = rng.fold_in(oracle.seeds[rows], 1 + turn)
        start = point.to(torch.promote_types(point.dtype, torch.float32))
        smallest = 4 * torch.finfo(point.dtype).eps * start[0].numel() ** 0.5
        reach = torch.as_tensor(width, device=rows.device).clamp(min=smallest).to(start.dtype)
        reach = reach.view(-1, 1, 1, 1)
        answers, moves = torch.zeros_like(start), torch.zeros_like(start)
        total = torch.zeros_like(start[:, :1, :1, :1])
        group = max(1, self.chunk // len(rows))
        for first in range(0, count, group):
            number = torch.arange(first, min(first + group, count), device=seeds.device)
            noise = rng.fold_in(seeds, number[:, None]).flatten()
            if self.norm == "l2":
                drawn = rng.normal(noise, start.shape[1:])
            else:
                drawn = 2 * rng.uniform(noise, start.shape[1:]) - 1
            drawn = (drawn / norm(drawn)).to(start.dtype).view(-1, *start.shape)
            probes = (start + reach * drawn).clamp(0, 1).to(point.dtype)
            _, reached = oracle.query(rows, probes)
            sides = (2 * reached.to(start.dtype) - 1).view(-1, len(rows), 1, 1, 1)
            for probe, side in zip(probes, sides, strict=True):
                move = probe.to(start.dtype) - start
                answers += side * move
                moves += move
                total += side
        mean = total / count
        grad = answers - mean.masked_fill(mean.abs() == 1, 0.0) * moves  # all alike: no baseline
        return STEEPEST[self.norm](grad, None)[0]

    def _step(
        self, oracle: Oracle, rows: Tensor, point: Tensor, uphill: Tensor, length: Tensor
    ) -> Tensor:
        """Step as far as still reaches the goal; the point itself where no length does."""
        result, length = point.clone(), length.clone()
        left = torch.ones_like(rows, dtype=torch.bool)
        smallest = torch.finfo(point.dtype).eps
        while True:
            asks = (left & (oracle.left(rows) > 0) & (length > smallest)).nonzero().flatten()
            if len(asks) == 0:
                return result
            reach = length[asks].to(uphill.dtype).view(-1, 1, 1, 1)
            image = (point[asks] + reach * uphill[asks]).clamp(0, 1).to(point.dtype)
            _, reached = oracle.sure(rows[asks], image)
            result[asks] = image.where(reached.view(-1, 1, 1, 1), result[asks])
            left[asks] = ~reached
            length[asks] /= 2
