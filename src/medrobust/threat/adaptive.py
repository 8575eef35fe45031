"""The attacker who knows everything but the defender's dice."""

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

    def _draws(self, images: int) -> int:
        return max(1, min(self.samples, self.chunk // max(images, 1)))

    def forward(self, x: Tensor, seeds: Tensor) -> Prediction:
        """Mean class probabilities over the draws, as log-probabilities."""
        if self.samples == 1:
            return self.defense.proxy(x, self.victim, seeds=fold_in(seeds, 0))
        total: Tensor | float = 0.0
        for start in range(0, self.samples, self._draws(len(x))):
            logits = self._spread(x, seeds, start)
            total = total + logits.softmax(2).sum(0)
        return Prediction(torch.log(torch.as_tensor(total) / self.samples))

    def _spread(self, x: Tensor, seeds: Tensor, start: int) -> Tensor:
        """Logits (draws, N, K[, H, W]) of draws `start` and following."""
        draws = min(self._draws(len(x)), self.samples - start)
        draw = torch.arange(start, start + draws, device=x.device).repeat_interleave(len(x))
        copies = x.repeat(draws, *[1] * (x.ndim - 1))
        noise = fold_in(seeds.repeat(draws), draw)
        logits = self.defense.proxy(copies, self.victim, seeds=noise).logits
        return logits.view(draws, len(x), *logits.shape[1:])

    def value_and_grad(self, x: Tensor, goal: Goal, *, seeds: Tensor) -> Gradient:
        """Mean loss and mean gradient over the draws; success is of the mean probabilities."""
        if self.samples == 1:
            return super().value_and_grad(x, goal, seeds=seeds)
        loss, grad = torch.zeros(len(x), dtype=x.dtype, device=x.device), torch.zeros_like(x)
        mean: Tensor | float = 0.0
        for start in range(0, self.samples, self._draws(len(x))):
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                logits = self._spread(leaf, seeds, start)
                every = goal.at(torch.arange(len(x), device=x.device).repeat(len(logits)))
                part = every.loss(Prediction(logits.flatten(0, 1)))
                (change,) = torch.autograd.grad(part.sum(), leaf)
            grad += change / self.samples
            loss = loss + part.detach().view(len(logits), -1).sum(0) / self.samples
            mean = mean + logits.detach().softmax(2).sum(0) / self.samples
        return Gradient(loss, grad, goal.reached(Prediction(torch.as_tensor(mean))))


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
