"""NES: sign steps on a gradient estimated from Gaussian directions."""

from typing import Unpack

import torch
from torch import Tensor

from medrobust import rng
from medrobust.attack.core.estimated import Estimated
from medrobust.attack.core.options import EstimateOptions
from medrobust.attack.core.step import Momentum, StepRule
from medrobust.number import fraction


class NES(Estimated):
    """Natural evolution strategies in an L∞ ball; needs scores only.

    Ilyas et al. 2018, "Black-box Adversarial Attacks with Limited Queries and Information",
    section 2.2 and algorithm 1: antithetic Gaussian directions u, g = mean of (L(x + sigma u) -
    L(x - sigma u)) u / (2 sigma), then x <- Proj(x + a sign(g)); the authors' code adds
    momentum, here the one of `MIM`. How a cut pair is accounted for, when an image leaves and
    what is returned: see `Estimated` and `QueryAttack`.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: >= 1.
        samples: directions per step, >= 1; each is queried on both sides.
        sigma: standard deviation of the search, in pixel units; the paper uses 0.001, which 8-bit
            and bfloat16 images cannot show.
        step_size: a, in pixel units.
        decay: momentum, >= 0; 0 = none, as in the paper's text.
        queries: budget per image; None = 1 + steps * (2 * samples + 1).
        **options: `chunk`, `loss`, `target`, `criterion`; see `Estimated`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        samples: int = 25,
        sigma: float | str = 0.01,
        step_size: float | str = 0.01,
        decay: float = 0.9,
        **options: Unpack[EstimateOptions],
    ) -> None:
        super().__init__(
            eps,
            steps=steps,
            samples=samples,
            width=fraction(sigma, "attack.sigma", above=True),
            step_size=fraction(step_size, "attack.step_size", above=True),
            **options,
        )
        self.decay = fraction(decay, "attack.decay", high=10.0)

    def directions(self, seeds: Tensor, shape: torch.Size) -> Tensor:
        """Standard normal."""
        return rng.normal(seeds, shape)

    def step_rule(self) -> StepRule:
        """Sign of the accumulated gradient."""
        return Momentum(self.decay)
