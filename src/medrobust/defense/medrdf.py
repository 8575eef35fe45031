"""MedRDF: noisy copies, a denoiser, a vote, a test that abstains, and a robust metric."""

import torch
from scipy.special import betainc
from torch import Tensor

from medrobust.defense.base import Purifier, Smoother
from medrobust.defense.noise import Noise
from medrobust.number import fraction
from medrobust.prediction import Prediction


class MedRDF(Smoother):
    """Majority vote over noisy, denoised copies (MedRDF, Eq. 3, 5 and 9, and Algorithm 1).

    Args:
        noise: how copies are made.
        denoiser: a purifier applied to each copy.
        n: copies per image.
        alpha: level of the two-sided binomial test; above it the defense abstains.
        chunk: copies that pass the victim at once; changes no result.
    """

    def __init__(
        self,
        noise: Noise,
        denoiser: Purifier,
        n: int = 10_000,
        *,
        alpha: float = 0.001,
        chunk: int = 512,
    ) -> None:
        super().__init__(n, chunk=chunk)
        self.noise = noise
        self.denoiser = denoiser
        self.alpha = fraction(alpha, "defense.alpha", above=True)

    def sample(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """D(x + η): one noisy copy of each image, denoised."""
        return self.denoiser.purify(self.noise(x, seeds=seeds), seeds=seeds)

    def decide(self, counts: Tensor) -> Prediction:
        """Top class, abstention and RM = K (n_A - n_B) / n, in [0, K].

        `logits` are the logarithms of the vote shares, smoothed by half a vote.
        """
        classes = counts.shape[1]
        if classes < 2:
            raise ValueError("MedRDF compares the two leading classes; the victim has one")
        top = counts.topk(2, dim=1).values
        return Prediction(
            logits=torch.log((counts + 0.5) / (self.n + 0.5 * classes)),
            confidence=classes * (top[:, 0] - top[:, 1]) / self.n,
            abstain=p_value(top[:, 0], top[:, 1]) > self.alpha,
        )


def p_value(first: Tensor, second: Tensor) -> Tensor:
    """Two-sided binomial test of `first` against Binom(first + second, 1/2) (Eq. 5).

    Args:
        first: the leading class's votes (N,), at least `second`.
        second: the runner-up's votes (N,).

    Returns:
        float64 (N,) in [0, 1], on the device of `first`.
    """
    lead, behind = first.cpu().double().numpy(), second.cpu().double().numpy()
    tail = betainc(lead.clip(min=1), behind + 1, 0.5)  # P(X >= lead), as a regularised beta
    tail[lead == 0] = 1.0
    return torch.from_numpy(2 * tail).clamp(max=1.0).to(first.device)
