"""Expectation of the loss over a defense's noise (EOT)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.box.anchored import Anchored
from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.rng import fold_in
from medrobust.threat.aim import Aim
from medrobust.threat.defended import DefendedSurrogate
from medrobust.threat.surrogate import Gradient, Siblings, Surrogate


class MeanLossSurrogate(DefendedSurrogate):
    """Victim behind the defense's proxy, with expectation over its randomness (EOT).

    Gradients of the loss are averaged over noise draws, not logits (Athalye et al. 2018): the
    attacker maximises the expected loss of what the defense will do.

    Args:
        victim: frozen.
        defense: its proxy gives exact or straight-through gradients, as it declares.
        eot_samples: noise draws per step.
        chunk: images × draws that pass at once; bounds memory, changes no result.

    Attributes:
        expectations: by name, the kinds of mean that an attack which tries them all may take.
    """

    expectations: "Mapping[str, type[MeanLossSurrogate]]" = MappingProxyType({})

    def __init__(self, victim: Victim, defense: Defense, eot_samples: int, chunk: int) -> None:
        super().__init__(victim, defense)
        self.eot_samples = eot_samples
        self.chunk = chunk

    def _siblings(self) -> Siblings:
        """Each stand-in with each expectation."""
        found = super()._siblings()
        views: dict[str, Surrogate] = dict(found.stand_ins)
        for name, view in found.stand_ins.items():
            assert isinstance(view, MeanLossSurrogate)
            for mean, kind in self.expectations.items():
                if kind is not type(self):
                    views[f"{name}, mean {mean}"] = view._averaging(kind)
        return replace(found, stand_ins=views)

    def _through(self, defense: Defense) -> Surrogate:
        """Return the same expectation with another stand-in."""
        return type(self)(self.victim, defense, self.eot_samples, self.chunk)

    def _averaging(self, kind: "type[MeanLossSurrogate]") -> Surrogate:
        """Return the same stand-in with another expectation."""
        return kind(self.victim, self.defense, self.eot_samples, self.chunk)

    def forward(self, x: Tensor, seeds: Tensor, taps: Sequence[str] = ()) -> Prediction:
        """Average class probabilities (as log-probabilities), score and features over the draws."""
        total: _Total | None = None
        features: dict[str, Tensor] = {}
        for seen in self._spread(x, seeds, taps):
            total = _Total.of(seen, x).plus(total)
            for tap, found in seen.features.items():
                part = _by_draw(found, x).sum(0) / self.eot_samples
                features[tap] = features[tap] + part if tap in features else part
        assert total is not None
        return replace(total.mean(self.eot_samples), features=features)

    def _value(self, x: Tensor, goal: Aim, *, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Average the loss over the draws; success is that of the mean probabilities."""
        with torch.no_grad():
            parts = [
                (_loss(goal, part, x).sum(0), _Total.of(part, x))
                for part in self._spread(x, seeds, goal.loss.taps)
            ]
        losses, totals = zip(*parts, strict=True)
        return torch.stack(losses).sum(0) / self.eot_samples, self._reached(goal, totals)

    def _value_and_grad(self, x: Tensor, goal: Aim, *, seeds: Tensor) -> Gradient:
        """Average loss and gradient over the draws; success is that of the mean probabilities."""
        losses, totals, grad = [], [], torch.zeros_like(x)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            # The generator draws and graphs one chunk at a time; each graph dies with its gradient.
            for seen in self._spread(leaf, seeds, goal.loss.taps):
                loss = _loss(goal, seen, x)
                self._check_gradient(loss)
                (change,) = torch.autograd.grad(loss.sum(), leaf)
                grad += change / self.eot_samples
                losses.append(loss.detach().sum(0) / self.eot_samples)
                totals.append(_Total.of(seen, x).detached())
        return Gradient(torch.stack(losses).sum(0), grad, self._reached(goal, totals))

    def _values_and_grads(
        self, x: Tensor, goals: Sequence[Aim], *, seeds: Tensor
    ) -> list[Gradient]:
        """Compute a gradient per goal, all at the same draws."""
        return [self._value_and_grad(x, goal, seeds=seeds) for goal in goals]

    def _reached(self, goal: Aim, totals: Sequence["_Total"]) -> Tensor:
        """Return the success of the mean over all draws."""
        total: _Total | None = None
        for part in totals:
            total = part.plus(total)
        assert total is not None
        return goal.reached(total.mean(self.eot_samples))

    def _spread(self, x: Tensor, seeds: Tensor, taps: Sequence[str]) -> Iterator[Prediction]:
        """Yield the predictions of all draws (draws * N, ...), a chunk at a time, draw by draw."""
        most = max(1, min(self.eot_samples, self.chunk // len(x)))
        for start in range(0, self.eot_samples, most):
            draws = min(most, self.eot_samples - start)
            draw = torch.arange(start, start + draws, device=x.device).repeat_interleave(len(x))
            copies = x.repeat(draws, *[1] * (x.ndim - 1))
            noise = fold_in(seeds.repeat(draws), draw)
            yield self._draw(copies, noise, taps)


def _by_draw(value: Tensor, x: Tensor) -> Tensor:
    """Reshape (draws * N, ...) to (draws, N, ...)."""
    return value.view(-1, len(x), *value.shape[1:])


def _loss(goal: Aim, seen: Prediction, x: Tensor) -> Tensor:
    """Compute the loss of every draw of every image, (draws, N)."""
    draws = len(seen.logits) // len(x)
    every = goal.at(torch.arange(len(x), device=x.device).repeat(draws))
    return _by_draw(every.value(seen), x)


class _Total(NamedTuple):
    """Sums over the draws of each image.

    Attributes:
        mass: logarithms of the sums of class probabilities (N, K[, H, W]), or (N, K, A).
        score: (N,), of detectors.
        threshold: of detectors.
        rest: of models that answer boxes, the same of "not this class".
        anchored: of these, the boxes with the sums of their offsets.
    """

    mass: Tensor
    score: Tensor | None
    threshold: Tensor | None
    rest: Tensor | None = None
    anchored: Anchored | None = None

    @classmethod
    def of(cls, seen: Prediction, x: Tensor) -> Self:
        """Sum the draws of one forward pass (draws * N, ...)."""
        score = None if seen.score is None else _by_draw(seen.score, x).sum(0)
        logits = _by_draw(seen.logits, x)
        if seen.anchored is None:
            return cls(logits.log_softmax(2).logsumexp(0), score, seen.threshold)  # may underflow
        mass, rest = (F.logsigmoid(sign * logits).logsumexp(0) for sign in (1, -1))
        boxes = seen.anchored.rows(lambda value: _by_draw(value, x).sum(0))
        return cls(mass, score, seen.threshold, rest, boxes)

    def plus(self, other: Self | None) -> Self:
        """Return the sums of both."""
        if other is None:
            return self
        both = self.score is not None and other.score is not None
        score = self.score + other.score if both else None  # type: ignore[operator]
        made = self._replace(mass=self.mass.logaddexp(other.mass), score=score)
        if self.rest is None or other.rest is None:
            return made
        assert self.anchored is not None
        assert other.anchored is not None
        boxes = self.anchored.rows(other.anchored.offsets.add)
        return made._replace(rest=self.rest.logaddexp(other.rest), anchored=boxes)

    def detached(self) -> Self:
        """Return the same sums, cut off from the graph."""
        score = None if self.score is None else self.score.detach()
        made = self._replace(mass=self.mass.detach(), score=score)
        if self.rest is None or self.anchored is None:
            return made
        return made._replace(rest=self.rest.detach(), anchored=self.anchored.rows(Tensor.detach))

    def mean(self, draws: int) -> Prediction:
        """Return logits of the mean probabilities, the mean score and the mean offsets."""
        score = None if self.score is None else self.score / draws
        abstain = None if score is None or self.threshold is None else score > self.threshold
        if self.rest is not None and self.anchored is not None:
            boxes = self.anchored.rows(lambda value: value / draws)
            return Prediction(self.mass - self.rest, anchored=boxes)
        return Prediction(
            self.mass - math.log(draws), score=score, threshold=self.threshold, abstain=abstain
        )
