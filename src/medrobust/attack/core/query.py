"""Base class of black-box attacks: queries are counted, and the budget is kept."""

from abc import abstractmethod
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.best import Best
from medrobust.attack.core.crafted import Crafted
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.options import Options
from medrobust.number import whole
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Surrogate

CERTAIN = 30
"""Responses in a row that end a search on a randomized defense: 95 % sure of more than 9 in 10."""


class Oracle:
    """Query a surrogate about a batch's images, and count every query.

    The q-th query of an image has the q-th noise of a randomized surrogate, whatever else is in the
    batch.

    Args:
        surrogate: model that is queried.
        x: clean images (N, C, H, W).
        goal: of the batch.
        seeds: int64 (N,).
        budget: queries per image.
        chunk: images that pass at once; changes no result.
        scores: False hides the loss, which is then 0 in every response.
        repeats: of a random surrogate, that must agree on a success which has to be `sure`.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        x: Tensor,
        goal: Goal,
        seeds: Tensor,
        budget: int,
        chunk: int,
        scores: bool = True,
        repeats: int = 1,
    ) -> None:
        self.random, self.repeats = surrogate.random, repeats if surrogate.random else 1
        self.surrogate, self.x, self.goal, self.seeds = surrogate, x, goal, seeds
        self.budget, self.chunk, self.scores = budget, chunk, scores
        self.asked = torch.zeros(len(x), dtype=torch.int64, device=x.device)

    def left(self, rows: Tensor) -> Tensor:
        """Queries that remain, int64 (M,)."""
        return self.budget - self.asked[rows]

    def sure(self, rows: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Query one image each, and query again what reaches the goal, `repeats` times in all.

        Args:
            rows: int64 (M,), which images, without repetition.
            images: (M, C, H, W) in [0, 1].

        Returns:
            loss float (M,) of the first response, and success bool (M,) of all `repeats`.
        """
        loss, reached = self.query(rows, images)
        return loss, self._agreed(rows, images, reached, self.repeats)

    def done(self, rows: Tensor, images: Tensor, reached: Tensor) -> Tensor:
        """Return which searches may end with these images, bool (M,).

        On a randomized surrogate `CERTAIN` responses in a row must reach the goal. The first is
        the one behind `reached`, of the image or of one nearer to the clean one on the same line.
        """
        return self._agreed(rows, images, reached, CERTAIN if self.random else 1)

    def _agreed(self, rows: Tensor, images: Tensor, reached: Tensor, repeats: int) -> Tensor:
        """Return which images reach the goal in `repeats` responses in a row, the first included.

        Each costs a query. Where the budget ends before, there is no success.
        """
        agreed, given = reached.clone(), 1
        while given < repeats and agreed.any():
            more = min(given, repeats - given)  # in groups that double: who fails, fails early
            agreed &= self.left(rows) >= more
            again = agreed.nonzero().flatten()
            if len(again):
                every = images[again].expand(more, -1, -1, -1, -1)
                agreed[again] = self.query(rows[again], every)[1].all(0)
            given += more
        return agreed

    def query(self, rows: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return loss and success of P candidates for each of M images, at P queries per image.

        Args:
            rows: int64 (M,), which images, without repetition.
            images: (P, M, C, H, W) candidates in [0, 1]; or (M, C, H, W), one each.

        Returns:
            loss float (P, M), larger = better for the attacker, and success bool (P, M); or (M,).

        Raises:
            RuntimeError: this would break the budget of an image.
        """
        if images.ndim == 4:
            loss, reached = self.query(rows, images[None])
            return loss[0], reached[0]
        count = len(images)
        if (self.left(rows) < count).any():
            raise RuntimeError(f"{count} queries asked, but {self.left(rows).min()} are left")
        number = torch.arange(count, device=rows.device)[:, None] + self.asked[rows]
        seeds = fold_in(self.seeds[rows].expand(count, -1), number).flatten()
        every, flat = rows.repeat(count), images.flatten(0, 1)
        parts = [
            self.surrogate.value(flat[part], self.goal.at(every[part]), seeds=seeds[part])
            for part in (
                slice(at, at + self.chunk) for at in range(0, max(1, len(flat)), self.chunk)
            )
        ]
        self.asked[rows] += count
        loss, reached = (torch.cat(items).view(count, -1) for items in zip(*parts, strict=True))
        return loss if self.scores else torch.zeros_like(loss), reached


class QueryAttack(Attack):
    """A new black-box attack writes `search`.

    An attack that uses labels only sets `hard_label`: it never sees a loss, and any threat will
    do. The others need scores, and are refused where only labels are returned.

    Returned is, per image, the candidate that ranks best by (reached the goal, loss) among those
    it offered; an image leaves the search once it reaches the goal.

    On a randomized surrogate a search that stops at the first success has found a lucky draw.
    There it goes on until `CERTAIN` responses in a row reach the goal, each a query, or to the end
    of its budget, and the last point is returned.

    Args:
        eps: budget in pixel units of [0, 1] images, in the attack's norm; a number or `8/255`.
        queries: query budget per image, >= 1. The first is the clean image.
        chunk: images that pass the surrogate at once; bounds memory, changes no result.
        loss: loss to maximise; None = the attack's own.
        repeats: identical responses of a randomized defense before a hard-label attack counts an
            image as fooled, >= 1; each is a query. A deterministic defense is queried once.
        **options: `target`, `criterion`; see `Attack`.
    """

    needs_gradient: ClassVar[bool] = False
    hard_label: ClassVar[bool] = False
    unscientific = ("chunk",)
    eps: float

    def __init__(
        self,
        eps: float | str,
        *,
        queries: int,
        chunk: int = 512,
        loss: Loss | None = None,
        repeats: int = 1,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(eps, loss=loss, **options)
        self.queries = whole(queries, "attack.queries", low=1)
        self.chunk = whole(chunk, "attack.chunk", low=1)
        self.repeats = whole(repeats, "attack.repeats", low=1)

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Crafted:
        """Query the clean images, then search for those that do not reach the goal yet.

        Raises:
            AttackError: the attack needs scores, and the surrogate returns labels or NaN.
        """
        name = type(self).__name__
        if not (self.hard_label or surrogate.scored):
            raise AttackError(
                f"{name} needs scores and {type(surrogate).__name__} answers labels only: set "
                "threat.answer=scores, or attack=rays or hopskipjump"
            )
        oracle = Oracle(
            surrogate,
            x,
            goal,
            seeds,
            self.queries,
            self.chunk,
            scores=not self.hard_label,
            repeats=self.repeats,
        )
        best = Best(x)
        everyone = torch.arange(len(x), device=x.device)
        loss, reached = oracle.query(everyone, x)
        done = oracle.done(everyone, x, reached)
        best.offer(everyone, x, loss, done)
        rows = (~done).nonzero().flatten()
        if len(rows):
            self.search(oracle, best, rows)
        if best.undefined.any():
            places = best.undefined.nonzero().flatten().tolist()
            raise AttackError(
                f"{name}: the loss is NaN for images {places} of the batch; check the "
                "surrogate's logits there"
            )
        return Crafted(best.image, oracle.asked)

    @abstractmethod
    def search(self, oracle: Oracle, best: Best, rows: Tensor) -> None:
        """Ask, and offer candidates to `best`.

        Args:
            oracle: answers; holds the clean images, the goal and the seeds of the batch.
            best: starts at the clean images with their loss.
            rows: int64 (M,), M >= 1, the images that do not reach the goal yet.
        """
