"""RayS: a hard-label search for the closest corner direction in L∞."""

from typing import ClassVar, Unpack

import torch
from torch import Tensor

from medrobust.attack.core.ball import Ball, LinfBall
from medrobust.attack.core.best import Best
from medrobust.attack.core.options import QueryOptions
from medrobust.attack.core.query import Oracle, QueryAttack
from medrobust.attack.core.scales import random_cells
from medrobust.number import fraction


class RayS(QueryAttack):
    """Ray searching over sign vectors, in blocks that halve; needs nothing but the label.

    Chen and Gu 2020, "RayS: A Ray Searching Method for Hard-label Adversarial Attack",
    algorithms 1 to 3: the decision radius along x + r * s is sought for s in {-1, 1}^D. Each
    trial flips one block of the best s, from the whole image down to single numbers. One query
    at the best radius tells whether the trial is better; only then its own radius is found by
    bisection.

    The budget is known here, so the first query of a bisection is at r = eps: reaching the goal
    there ends the attack on that image, and otherwise the radius is above eps. All images of a
    batch make one query at a time, each at its own place in the search.

    The first trial is the black image, as in the paper. Where it does not reach the goal, random
    sign patterns of every scale are tried until one does; the paper goes on flipping blocks of the
    white image, which on some models never leaves a class. Where images are coarse (bfloat16, a
    defense of few bits) radii come in steps, and a better ray is seen only if it wins a whole one.

    On a randomized surrogate a ray reaches the goal where `repeats` responses in a row say so, and
    as long as its corner is not certain the search goes on to smaller radii than eps: a corner deep
    inside the other class is one that most draws put there.

    Returned is x + eps * s, cut to [0, 1], for the s that reached the goal or else the best one.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        queries: budget per image, >= 2; the first is the clean image.
        repeats: identical responses of a randomized defense; a deterministic one is queried once.
        tolerance: a radius is known when its bisection is narrower than tolerance / sqrt(D) for
            images of D numbers: the step of a ray's L2 length, as in the authors' code.
        **options: `chunk`, `target`, `criterion`; see `QueryAttack`.
    """

    dense: ClassVar[bool] = False
    hard_label: ClassVar[bool] = True

    def __init__(
        self,
        eps: float | str,
        *,
        queries: int,
        repeats: int = 3,
        tolerance: float = 1e-3,
        **options: Unpack[QueryOptions],
    ) -> None:
        super().__init__(eps, queries=queries, repeats=repeats, **options)
        self.radius_tolerance = fraction(tolerance, "attack.tolerance", above=True)

    def search(self, oracle: Oracle, best: Best, rows: Tensor) -> None:
        """One question per image and turn."""
        rays = _Rays(LinfBall(oracle.x[rows], self.eps), self.radius_tolerance, oracle.seeds[rows])
        for turn in range(self.queries):
            spent = oracle.left(rows) < 1
            if spent.any():
                rows = self._leave(best, rays, rows, rays.nearest(), spent, won=False)
                if len(rows) == 0:
                    return
            image = rays.question()
            _, reached = oracle.sure(rows, image)
            corner = rays.corner() if oracle.random else image
            done = oracle.done(rows, corner, rays.answer(reached, turn))
            rows = self._leave(best, rays, rows, corner, done, won=True)
            if len(rows) == 0:
                return

    def _leave(
        self, best: Best, rays: "_Rays", rows: Tensor, image: Tensor, leaves: Tensor, won: bool
    ) -> Tensor:
        """Offer `image` (M, C, H, W) where bool (M,) `leaves`; returns the rows that stay."""
        gone, stay = leaves.nonzero().flatten(), leaves.logical_not().nonzero().flatten()
        if len(gone):
            reached = torch.full_like(gone, won, dtype=torch.bool)
            best.offer(rows[gone], image[gone], best.loss[rows[gone]], reached)
            rays.keep(stay)
        return rows[stay]


class _Rays:
    """State of the search for M images; every attribute has a row per image.

    Attributes:
        sign: int8 (M, D), the best ray.
        radius: float64, along it; 1, which reaches a corner of [0, 1]^D from anywhere, as long as
            no ray was found.
        trial: int8 (M, D), the ray that is queried.
        level, block: the trial flips block number `block` of 2^level.
        bisecting: the trial beat `radius`; its own is in (low, high].
    """

    def __init__(self, ball: Ball, tolerance: float, seeds: Tensor) -> None:
        self.ball, self.seeds = ball, seeds
        count, self.size = len(ball.x), ball.x[0].numel()
        device = ball.x.device
        self.width = tolerance / self.size**0.5
        self.deepest = (self.size - 1).bit_length()  # blocks of one number
        self.sign = torch.ones(count, self.size, dtype=torch.int8, device=device)
        self.trial = -self.sign
        self.radius = torch.ones(count, dtype=torch.float64, device=device)
        self.low, self.high = self.radius.clone(), self.radius.clone()
        self.level = torch.zeros(count, dtype=torch.int64, device=device)
        self.block = self.level.clone()
        self.bisecting = torch.zeros(count, dtype=torch.bool, device=device)

    def keep(self, rows: Tensor) -> None:
        """Drop all images but `rows`."""
        self.ball, self.seeds = self.ball.at(rows), self.seeds[rows]
        self.sign, self.trial, self.radius = self.sign[rows], self.trial[rows], self.radius[rows]
        self.low, self.high = self.low[rows], self.high[rows]
        self.level, self.block = self.level[rows], self.block[rows]
        self.bisecting = self.bisecting[rows]

    def question(self) -> Tensor:
        """The image (M, C, H, W) that each search queries next."""
        eps = self.ball.eps
        beyond = (self.low >= eps) | (self.high <= eps)  # the answer at eps is known
        middle = ((self.low + self.high) / 2).where(beyond, eps)
        self.asked = middle.where(self.bisecting, self.radius)
        return self._along(self.trial, self.asked)

    def answer(self, reached: Tensor, turn: int) -> Tensor:
        """Move on; True where a ray has just been seen to reach the goal within the budget."""
        start = reached & ~self.bisecting
        won = start & (self.asked <= self.ball.eps) | reached & (self.asked == self.ball.eps)
        self.high = self.asked.where(reached, self.high)
        self.low = self.asked.where(self.bisecting & ~reached, self.low).masked_fill(start, 0.0)
        self.bisecting |= start
        beyond = (self.low >= self.ball.eps) | (self.high <= self.ball.eps)
        known = self.bisecting & beyond & (self.high - self.low <= self.width)
        better = known & (self.high < self.radius)
        self.sign = self.trial.where(better[:, None], self.sign)
        self.radius = self.high.where(better, self.radius)
        self._try_next(known | ~self.bisecting, turn)
        self.bisecting &= ~known
        return won

    def corner(self) -> Tensor:
        """The trial's image at the end of the budget."""
        return self._along(self.trial, torch.full_like(self.radius, self.ball.eps))

    def nearest(self) -> Tensor:
        """The best ray's image at the end of the budget."""
        return self._along(self.sign, torch.full_like(self.radius, self.ball.eps))

    def _try_next(self, where: Tensor, turn: int) -> None:
        """Flip the next block, after the last one of the next level; or any ray, without one."""
        found = self.radius < 1
        block = self.block + (where & found)
        last = block * self._length() >= self.size
        self.block = block.masked_fill(last, 0)
        self.level = (self.level + last).clamp(max=self.deepest)
        place, length = torch.arange(self.size, device=self.sign.device), self._length()
        first = (self.block * length)[:, None]
        flips = (place >= first) & (place < first + length[:, None])
        flipped = self.sign.neg().where(flips, self.sign)
        self.trial = flipped.where((where & found)[:, None], self.trial)
        lost = (where & ~found).nonzero().flatten()
        if len(lost):
            cells = random_cells(self.seeds[lost], turn, self.ball.x.shape[1:])
            self.trial[lost] = torch.where(cells.flatten(1) < 0.5, -1, 1).to(torch.int8)

    def _length(self) -> Tensor:
        """Numbers in a block: D / 2^level, rounded up."""
        parts = 1 << self.level
        return (self.size + parts - 1) // parts

    def _along(self, sign: Tensor, radius: Tensor) -> Tensor:
        """Images x + radius * sign, cut to [0, 1]; exactly inside the ball where radius <= eps."""
        reach = radius.to(self.ball.dtype).view(-1, 1, 1, 1)
        point = (self.ball.centre + reach * sign.view(self.ball.x.shape)).clamp(0, 1)
        inside = self.ball.project(point)
        return self.ball.shown(inside.where(radius.view(-1, 1, 1, 1) <= self.ball.eps, point))
