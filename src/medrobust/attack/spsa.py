"""SPSA: Adam on a gradient estimated from random sign directions."""

from typing import Unpack

import torch
from torch import Tensor

from medrobust import rng
from medrobust.attack.core.estimated import Estimated
from medrobust.attack.core.options import EstimateOptions
from medrobust.attack.core.step import StepRule
from medrobust.number import fraction


class SPSA(Estimated):
    """Simultaneous perturbation stochastic approximation in an L∞ ball; needs scores only.

    Uesato et al. 2018, "Adversarial Risk and the Dangers of Evaluating Against Weak Attacks",
    section 4 and algorithm 1: Rademacher directions v, g = mean of (L(x + delta v) -
    L(x - delta v)) / (2 delta v), Adam, projection. How a cut pair is accounted for, when an
    image leaves and what is returned: see `Estimated` and `QueryAttack`.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: Adam iterations, >= 1.
        samples: directions per iteration, >= 1; each is queried on both sides.
        delta: finite-difference radius, in pixel units.
        lr: Adam's learning rate, in pixel units per iteration.
        queries: budget per image; None = 1 + steps * (2 * samples + 1).
        **options: `chunk`, `loss`, `target`, `criterion`; see `Estimated`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        samples: int = 128,
        delta: float | str = 0.01,
        lr: float | str = 0.01,
        **options: Unpack[EstimateOptions],
    ) -> None:
        super().__init__(
            eps,
            steps=steps,
            samples=samples,
            width=fraction(delta, "attack.delta", above=True),
            step_size=fraction(lr, "attack.lr", above=True),
            **options,
        )

    def directions(self, seeds: Tensor, shape: torch.Size) -> Tensor:
        """Signs."""
        return rademacher(seeds, shape)

    def step_rule(self) -> StepRule:
        """Adam."""
        return Adam()


class Adam:
    """Direction of Adam (Kingma and Ba 2015, algorithm 1) with its usual constants.

    Counts its calls: one object per climb.
    """

    decays = (0.9, 0.999)
    floor = 1e-8

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, grad: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """Direction like `grad` (N, ...), and both moments (N, 2, ...)."""
        self.calls += 1
        moments = torch.stack([grad, grad * grad], dim=1)
        rates = moments.new_tensor([1 - decay for decay in self.decays]).view(2, 1, 1, 1)
        memory = rates * moments + (0 if memory is None else (1 - rates) * memory)
        mean, square = (
            part / (1 - decay**self.calls)
            for part, decay in zip(memory.unbind(1), self.decays, strict=True)
        )
        return mean / (square.sqrt() + self.floor), memory


def rademacher(seeds: Tensor, shape: torch.Size) -> Tensor:
    """Random signs, int8 -1 or 1, (N, *shape); one bit of the sample's stream each."""
    count = shape.numel()
    octets = rng.bits(seeds, -(-count // 64)).view(torch.uint8)
    place = torch.arange(8, dtype=torch.uint8, device=seeds.device)
    ones = (octets.unsqueeze(2) >> place) & 1
    return (ones.to(torch.int8) * 2 - 1).flatten(1)[:, :count].reshape(-1, *shape)
