"""FAB: the fast adaptive boundary attack, in L∞ or L2."""

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.attack.core.closest import Closest
from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.hyperplane import DUAL, displacement
from medrobust.attack.core.minimum_norm import MinimumNorm
from medrobust.attack.core.norm import known_norm
from medrobust.attack.core.target import Target
from medrobust.number import fraction, whole
from medrobust.rng import fold_in, normal, uniform
from medrobust.threat.surrogate import Surrogate


class FAB(MinimumNorm):
    """Steps onto the nearest linearised decision boundary, biased toward the clean image.

    Croce and Hein 2020, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary
    Attack", algorithm 1: at each step the boundary to the class that seems nearest is linearised,
    the point and the clean image are both projected onto it inside [0, 1], and the next point is
    the mean of the two, overshot by `eta` and weighted by their distances. Whenever it is
    adversarial the walk goes back toward the clean image. In place of the authors' final search,
    the line from the clean image to what was found is halved ten times at the end. What is
    returned: see `MinimumNorm`.

    One step costs a forward and K - 1 backward passes, and a forward pass to judge the new point.

    Args:
        eps: budget in pixel units of [0, 1] images, a number or `8/255`; None = no budget.
        norm: `linf` or `l2`.
        steps: per restart, >= 1.
        restarts: >= 1; the first starts at the clean image, each other one at a random point, at
            half of the distance found so far, or of `eps` if that is less.
        alpha_max: largest weight of the clean image's projection, in [0, 1].
        eta: overshoot past the linearised boundary, >= 1.
        beta: fraction of the way from the clean image that a backward step keeps, in [0, 1].
        early_stop: True: an image leaves once an adversarial within `eps` is known.
        target: must be None: the attack chooses the classes itself.
        criterion: when an image counts as fooled; None = another class.
    """

    dense: ClassVar[bool] = False
    reach: ClassVar[dict[str, float]] = {"linf": 0.3, "l2": 1.0}
    """Stands for the budget in random starts when there is none, as in the authors' code."""
    halvings: ClassVar[int] = 10

    def __init__(
        self,
        eps: float | str | None = None,
        *,
        norm: str = "linf",
        steps: int = 100,
        restarts: int = 1,
        alpha_max: float = 0.1,
        eta: float = 1.05,
        beta: float = 0.9,
        early_stop: bool = False,
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        if target is not None:
            raise ValueError(
                f"attack.target={type(target).__name__}: {type(self).__name__} chooses its own "
                "classes and is not defined for a given one; set attack/target=null, or a targeted "
                "attack such as attack=pgd"
            )
        self.norm = known_norm(norm)
        super().__init__(eps, criterion=criterion)
        if early_stop and self.eps is None:
            raise ValueError("attack.early_stop=true needs a budget: set attack.eps, or false")
        self.early_stop = early_stop
        self.steps = whole(steps, "attack.steps", low=1)
        self.restarts = whole(restarts, "attack.restarts", low=1)
        self.alpha_max = fraction(alpha_max, "attack.alpha_max")
        self.eta = fraction(eta, "attack.eta", low=1.0, high=10.0)
        self.beta = fraction(beta, "attack.beta")

    def rivals(self, logits: Tensor, labels: Tensor) -> Iterator[Tensor]:
        """The classes toward which each run may go: here one run toward all wrong ones.

        Args:
            logits: of the clean images (N, K).
            labels: true classes (N,).

        Yields:
            int64 (N, R) for each run.
        """
        yield wrong_classes(logits, labels)

    def search(
        self, surrogate: Surrogate, goal: Goal, closest: Closest, rows: Tensor, seeds: Tensor
    ) -> None:
        """Walk once per run and restart, then shorten what was found."""
        labels = goal.labels[rows]
        logits = surrogate(closest.x[rows], seeds[rows]).logits
        own = F.one_hot(labels, logits.shape[1])
        for run, rivals in enumerate(self.rivals(logits, labels)):
            gaps = F.one_hot(rivals.T, logits.shape[1]) - own  # (R, M, K): rival minus own logit
            for restart in range(self.restarts):
                stay = self._unfinished(closest, rows)
                if len(stay):
                    fresh = fold_in(seeds, 1 + run * self.restarts + restart)
                    self._walk(surrogate, goal, closest, rows[stay], gaps[:, stay], fresh, restart)
        self._shorten(surrogate, goal, closest, rows, fold_in(seeds, 0))

    def _unfinished(self, closest: Closest, rows: Tensor) -> Tensor:
        """Places in `rows` of the images that go on."""
        if self.eps is None or not self.early_stop:
            return torch.arange(len(rows), device=rows.device)
        return (closest.distance[rows] > self.eps).nonzero().flatten()

    def _walk(
        self,
        surrogate: Surrogate,
        goal: Goal,
        closest: Closest,
        rows: Tensor,
        gaps: Tensor,
        seeds: Tensor,
        restart: int,
    ) -> None:
        """One run; offers every point to `closest`.

        Points are rows of numbers here, in at least float32; the surrogate sees images in the
        dtype of `x`.
        """
        shape, dtype = closest.x.shape[1:], closest.x.dtype
        clean = closest.x[rows].to(torch.promote_types(dtype, torch.float32)).flatten(1)
        point = self._start(clean, closest.distance[rows], seeds[rows]) if restart else clean
        for step in range(self.steps):
            shown = point.to(dtype)
            excess, plane = self._nearest_plane(
                surrogate, shown.unflatten(1, shape), gaps, fold_in(seeds[rows], 2 * step)
            )
            # What rounding to `dtype` takes from the point counts as not yet gone: steps add up.
            behind = excess + ((clean - shown) * plane).sum(dim=1)
            ways = [
                displacement(start, plane, over, self.norm)
                for start, over in ((point, excess), (clean, behind))
            ]
            near, far = (_length(way, self.norm) for way in ways)
            bias = near / (near + far).clamp(min=torch.finfo(near.dtype).tiny)
            bias = bias.clamp(max=self.alpha_max)
            point = (1 - bias) * (point + self.eta * ways[0])
            point = (point + bias * (clean + self.eta * ways[1])).clamp(0, 1)
            shown = point.to(dtype).unflatten(1, shape)
            noise = fold_in(seeds[rows], 2 * step + 1)
            _, reached = surrogate.value(shown, goal.at(rows), seeds=noise)
            closest.offer(rows, shown, reached)
            point = (clean + self.beta * (point - clean)).where(reached[:, None], point)
            if self.early_stop:
                stay = self._unfinished(closest, rows)
                if len(stay) == 0:
                    return
                if len(stay) < len(rows):
                    rows, gaps = rows[stay], gaps[:, stay]
                    point, clean = point[stay], clean[stay]

    def _start(self, clean: Tensor, found: Tensor, seeds: Tensor) -> Tensor:
        """Random points (M, D), at half the distance to beat."""
        if self.norm == "linf":
            way = 2 * uniform(seeds, clean.shape[1:]) - 1
        else:
            way = normal(seeds, clean.shape[1:])
        beat = found.clamp(max=self.reach[self.norm] if self.eps is None else self.eps)
        way = way.to(clean.dtype) / _length(way, self.norm)
        return (clean + (beat[:, None] / 2).to(clean.dtype) * way).clamp(0, 1)

    def _nearest_plane(
        self, surrogate: Surrogate, shown: Tensor, gaps: Tensor, seeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return excess (M,) and normal (M, D) of the nearest linearised boundary."""
        logits, grads = surrogate.logits_and_grads(shown, gaps, seeds=seeds)
        precision = torch.finfo(logits.dtype).eps
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # The rival must lead by what the logits can tell apart: a tie would end the walk.
        excess = (gaps * logits).sum(dim=2) - precision * logits.abs().amax(dim=1)
        grads = grads.flatten(2)
        length = torch.linalg.vector_norm(grads, DUAL[self.norm], dim=2, dtype=torch.float64)
        nearest = (excess.abs() / length).where(length != 0, torch.inf).argmin(dim=0)
        every = torch.arange(len(shown), device=shown.device)
        return excess[nearest, every], grads[nearest, every].to(logits.dtype)

    def _shorten(
        self, surrogate: Surrogate, goal: Goal, closest: Closest, rows: Tensor, seeds: Tensor
    ) -> None:
        """Halve the way between the clean image and what was found, toward the boundary."""
        rows = rows[self._unfinished(closest, rows)]
        rows = rows[closest.reached[rows]]
        if len(rows) == 0:
            return
        x = closest.x[rows]
        clean, way = x.double(), closest.image[rows].double() - x.double()
        low = clean.new_zeros(len(rows), 1, 1, 1)
        high = clean.new_ones(len(rows), 1, 1, 1)
        for halving in range(self.halvings):
            middle = (low + high) / 2
            image = (clean + middle * way).clamp(0, 1).to(x.dtype)
            noise = fold_in(seeds[rows], halving)
            _, reached = surrogate.value(image, goal.at(rows), seeds=noise)
            closest.offer(rows, image, reached)
            reached = reached.view(-1, 1, 1, 1)
            low, high = low.where(reached, middle), middle.where(reached, high)


def wrong_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """All classes but the label's own, the likeliest first: int64 (N, K - 1).

    Raises:
        ValueError: the model has one logit only.
    """
    if logits.shape[1] < 2:
        raise ValueError(f"FAB needs two classes, the model has {logits.shape[1]} logit")
    own = labels[:, None]
    order = logits.scatter(1, own, -torch.inf).argsort(dim=1, descending=True, stable=True)
    return order[order != own].view(len(logits), -1)


def _length(way: Tensor, norm: str) -> Tensor:
    """Norm of each row, (M, 1)."""
    order = {"linf": torch.inf, "l2": 2.0}[norm]
    return torch.linalg.vector_norm(way, order, dim=1, keepdim=True)
