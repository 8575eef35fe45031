"""A defended system whose gradients mislead, with its robustness known from elsewhere."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.rng import fold_in

Gain = Callable[[Tensor, Tensor], Tensor]
"""Images (N, C, H, W) and labels (N,) -> (N,), differentiable, the larger the more fooled."""


@dataclass(frozen=True)
class Trap:
    """A victim behind a defense that masks gradients.

    Attributes:
        name: file name of the trap.
        victim: frozen victim.
        defense: ready defense.
        images: clean images (N, C, H, W) in [0, 1], all classified correctly and accepted.
        labels: int64 (N,).
        eps: L∞ radius in [0, 1] units.
        share: float64 (N,), the chance that the image stays right under its best perturbation:
            zero or one for a deterministic defense. An image that a detector rejects stays right.
        why: how the gradient misleads.
        gain: the unmasked twin.
    """

    name: str
    victim: Victim
    defense: Defense
    images: Tensor
    labels: Tensor
    eps: float
    share: Tensor
    why: str
    gain: Gain

    @property
    def truth(self) -> float:
        """Return the exact robust accuracy at `eps`, expected if the defense is randomized."""
        return float(self.share.mean())


@torch.no_grad()
def left(trap: Trap, images: Tensor, *, draws: int = 100, seed: int = 2**40) -> float:
    """Return the accuracy that the deployed defense keeps, over fresh draws of the defender.

    Args:
        trap: defended system.
        images: adversarial images in the order of `trap.images`.
        draws: draws of a randomized defense; others need one.
        seed: seed of the first image; those of an attack are small numbers.
    """
    seeds = torch.arange(seed, seed + len(images))
    kept = []
    for draw in range(draws if trap.defense.random else 1):
        seen = trap.defense(images, trap.victim, seeds=fold_in(seeds, draw))
        right = seen.label == trap.labels
        kept.append(right if seen.abstain is None else right | seen.abstain)
    return float(torch.stack(kept).double().mean())
