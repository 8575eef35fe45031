"""Square Attack: random search over square patches, in L∞ or L2."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from medrobust.attack.core.best import Best
from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.norm import known_norm
from medrobust.attack.core.patch import L2Patches, LinfPatches, Patches
from medrobust.attack.core.query import Oracle, QueryAttack
from medrobust.attack.core.target import Target
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.margin import Margin
from medrobust.number import fraction
from medrobust.rng import fold_in

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Proposals, out of 10 000, at which the area of the square is halved."""


class Square(QueryAttack):
    """Random search: one square of the image changes per query, and stays if the loss grows.

    Andriushchenko et al. 2020, "Square Attack: a query-efficient black-box adversarial attack via
    random search", algorithms 1 to 3. Each image has its own squares, signs and schedule, so that
    nothing depends on the batch. The schedule of areas is scaled to `queries`, as in AutoAttack.
    What is returned: see `QueryAttack`.

    Args:
        eps: radius in pixel units of [0, 1] images; a number or `8/255`.
        norm: `linf` or `l2`.
        queries: query budget per image, >= 1: the clean one, the first
            perturbed one, and one per proposal.
        p_init: share of the pixels that the first squares cover, in (0, 1].
        chunk: images that pass the surrogate at once; bounds memory, changes no result.
        loss: loss to maximise; None = the margin, or cross-entropy when targeted.
        target: rule that chooses target classes; None = untargeted.
        criterion: when an image counts as fooled; None = by task.
    """

    patches: ClassVar[dict[str, type[Patches]]] = {"linf": LinfPatches, "l2": L2Patches}

    def __init__(
        self,
        eps: float | str,
        *,
        norm: str = "linf",
        queries: int = 5000,
        p_init: float = 0.8,
        chunk: int = 512,
        loss: Loss | None = None,
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        self.norm = known_norm(norm)
        super().__init__(
            eps,
            queries=queries,
            chunk=chunk,
            loss=loss or (CrossEntropy() if target else Margin()),
            target=target,
            criterion=criterion,
        )
        self.p_init = fraction(p_init, "attack.p_init", above=True)

    def area(self, proposal: int) -> float:
        """Share of the pixels that the square of a proposal covers, counted from 0."""
        done = int(proposal / self.queries * 10_000)
        return self.p_init / 2 ** sum(done > step for step in HALVINGS)

    def search(self, oracle: Oracle, best: Best, rows: Tensor) -> None:
        """Start anywhere on the edge of the ball, then propose squares until fooled or spent."""
        pixels = math.prod(oracle.x.shape[2:])
        patches = self.patches[self.norm](oracle.x[rows], self.eps)
        point = patches.start(fold_in(oracle.seeds[rows], 0))
        loss = torch.full_like(best.loss[rows], -torch.inf)
        for number in range(1, self.queries):  # 0 was the clean image, 1 is the start
            candidate = point
            if number > 1:
                side = math.sqrt(self.area(number - 2) * pixels)
                candidate = patches.propose(point, side, fold_in(oracle.seeds[rows], number))
            image = patches.shown(candidate)
            value, reached = oracle.query(rows, image)
            value = value.to(loss.dtype)
            better = ~(value <= loss)  # NaN stays, to be reported
            done = oracle.done(rows, image, reached & (better | (not oracle.random)))
            better |= done
            loss = value.where(better, loss)
            point = candidate.where(better.view(-1, 1, 1, 1), point)
            stay = (~done & (oracle.left(rows) > 0)).nonzero().flatten()
            if len(stay) < len(rows):
                best.offer(rows, patches.shown(point), loss, done)
                rows, point, loss, patches = rows[stay], point[stay], loss[stay], patches.at(stay)
                if len(stay) == 0:
                    return
        best.offer(rows, patches.shown(point), loss, torch.zeros_like(rows, dtype=torch.bool))
