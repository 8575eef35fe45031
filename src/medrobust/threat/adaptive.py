"""The attacker who knows everything but the defender's dice."""

from collections.abc import Iterator

import torch
from torch import Tensor

from medrobust.attack.goal import Goal
from medrobust.defense.base import Defense
from medrobust.fingerprint import digest
from medrobust.model.victim import Victim
from medrobust.number import whole
from medrobust.prediction import Prediction
from medrobust.rng import fold_in
from medrobust.threat.base import Threat
from medrobust.threat.surrogate import Gradient, Surrogate


class DefendedSurrogate(Surrogate):
    """Victim behind the defense's proxy, with expectation over its randomness (EOT).

    Gradients of the loss are averaged over noise draws, not logits (Athalye et al. 2018): the
    attacker maximises the expected loss of what the defense will do.

    Args:
        victim: frozen.
        defense: its proxy gives exact or straight-through gradients, as it declares.
        samples: noise draws per step; 1 when the defense is not random.
        chunk: images × draws that pass at once; bounds memory, changes no result.
    """

    def __init__(self, victim: Victim, defense: Defense, samples: int, chunk: int) -> None:
        super().__init__()
        self.victim, self.defense = victim, defense
        self.samples = samples if defense.random else 1
        self.chunk = chunk

    @property
    def fingerprint(self) -> str:
        """Of victim, defense and number of draws."""
        return digest(["adaptive", self.victim.fingerprint, self.defense.fingerprint, self.samples])

    def forward(self, x: Tensor, seeds: Tensor) -> Prediction:
        """Mean class probabilities over the draws, as log-probabilities."""
        if self.samples == 1:
            return self.defense.proxy(x, self.victim, seeds=fold_in(seeds, 0))
        mean: Tensor | float = 0.0
        for logits in self._spread(x, seeds):
            mean = mean + logits.softmax(2).sum(0) / self.samples
        return Prediction(torch.log(torch.as_tensor(mean)))

    def value(self, x: Tensor, goal: Goal, *, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss over the draws; success is of the mean probabilities."""
        if self.samples == 1:
            return super().value(x, goal, seeds=seeds)
        with torch.no_grad():
            parts = [(_loss(goal, part).sum(0), _mass(part)) for part in self._spread(x, seeds)]
        loss, mass = (torch.stack(items).sum(0) for items in zip(*parts, strict=True))
        return loss / self.samples, goal.reached(Prediction(mass))

    def value_and_grad(self, x: Tensor, goal: Goal, *, seeds: Tensor) -> Gradient:
        """Mean loss and mean gradient over the draws; success is of the mean probabilities."""
        if self.samples == 1:
            return super().value_and_grad(x, goal, seeds=seeds)
        losses, masses, grad = [], [], torch.zeros_like(x)
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            # The generator draws and graphs one chunk at a time; each graph dies with its gradient.
            for logits in self._spread(leaf, seeds):
                loss = _loss(goal, logits)
                (change,) = torch.autograd.grad(loss.sum(), leaf)
                grad += change / self.samples
                losses.append(loss.detach().sum(0) / self.samples)
                masses.append(_mass(logits.detach()))
        reached = goal.reached(Prediction(torch.stack(masses).sum(0)))
        return Gradient(torch.stack(losses).sum(0), grad, reached)

    def _spread(self, x: Tensor, seeds: Tensor) -> Iterator[Tensor]:
        """Logits (draws, N, K[, H, W]) of all draws, a chunk at a time."""
        most = max(1, min(self.samples, self.chunk // len(x)))
        for start in range(0, self.samples, most):
            draws = min(most, self.samples - start)
            draw = torch.arange(start, start + draws, device=x.device).repeat_interleave(len(x))
            copies = x.repeat(draws, *[1] * (x.ndim - 1))
            noise = fold_in(seeds.repeat(draws), draw)
            logits = self.defense.proxy(copies, self.victim, seeds=noise).logits
            yield logits.view(draws, len(x), *logits.shape[1:])


def _loss(goal: Goal, logits: Tensor) -> Tensor:
    """Loss of every draw of every image: (draws, N, K[, H, W]) -> (draws, N)."""
    draws, images = logits.shape[:2]
    every = goal.at(torch.arange(images, device=logits.device).repeat(draws))
    return every.loss(Prediction(logits.flatten(0, 1))).view(draws, images)


def _mass(logits: Tensor) -> Tensor:
    """Class probabilities summed over the draws: (draws, N, K[, H, W]) -> (N, K[, H, W])."""
    return logits.softmax(2).sum(0)


class Adaptive(Threat):
    """White box on victim and defense: exact gradients, BPDA where declared, EOT where random.

    Args:
        samples: noise draws per step against a random defense.
        chunk: images × draws that pass at once; changes no result.
    """

    unscientific = ("chunk",)

    def __init__(self, samples: int = 32, *, chunk: int = 512) -> None:
        self.samples = whole(samples, "threat.samples", low=1)
        self.chunk = whole(chunk, "threat.chunk", low=1)

    def __call__(self, victim: Victim, defense: Defense) -> Surrogate:
        """The defended victim, differentiable."""
        return DefendedSurrogate(victim, defense, self.samples, self.chunk)
