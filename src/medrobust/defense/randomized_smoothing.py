"""Randomized smoothing: a vote under Gaussian noise, with a certified L2 radius."""

from dataclasses import replace

import torch
from scipy.special import betaincinv, ndtri
from torch import Tensor

from medrobust.defense.core.base import Purifier, Smoother
from medrobust.defense.medrdf import p_value
from medrobust.model.core.victim import Victim
from medrobust.number import fraction, whole
from medrobust.prediction import Prediction
from medrobust.rng import fold_in, normal


class RandomizedSmoothing(Smoother):
    """The victim's most frequent class for x + N(0, sigma²), with a certified L2 radius.

    Cohen, Rosenfeld and Kolter 2019, "Certified Adversarial Robustness via Randomized Smoothing".
    Both of its algorithms run on the same n copies. PREDICT returns the leading class, or abstains
    if the two-sided binomial test against the runner-up exceeds alpha. CERTIFY returns the radius
    sigma * Phi⁻¹(p), where p is the Clopper-Pearson lower bound at level alpha of the share of a
    class chosen by n0 further copies; 0 if p <= 1/2 or PREDICT abstains. A positive radius belongs
    to the returned class, since more than half of the n votes are for it. Each algorithm errs with
    probability at most alpha.

    The noise is in pixel units of [0, 1] images and added before normalisation. Noisy values are
    not clipped, since the certificate needs Gaussian noise. With a denoiser the base classifier is
    the victim behind it (Salman et al. 2020, denoised smoothing). Clipping to [0, 1], which
    purifiers expect, is part of that classifier, and the certificate stays valid, even if the
    denoiser is random.

    Args:
        sigma: standard deviation of the noise, in [0, 1] units.
        copies: counted copies per image.
        n0: further copies that choose the class to certify.
        alpha: level of the test and of the bound.
        denoiser: purifier applied to each copy, or None.
        chunk: copies per forward pass; does not change the result.
    """

    def __init__(
        self,
        sigma: float | str = 0.25,
        copies: int = 10_000,
        *,
        n0: int = 100,
        alpha: float = 0.001,
        denoiser: Purifier | None = None,
        chunk: int = 512,
    ) -> None:
        super().__init__(copies, chunk=chunk)
        self.sigma = fraction(sigma, "defense.sigma", high=10, above=True)
        self.n0 = whole(n0, "defense.n0", low=1)
        self.alpha = fraction(alpha, "defense.alpha", above=True)
        self.denoiser = denoiser

    def sample(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Draw one noisy copy, denoised if there is a denoiser, else not limited to [0, 1]."""
        noisy = x + self.sigma * normal(seeds, x.shape[1:]).to(x.dtype)
        if self.denoiser is None:
            return noisy
        return self.denoiser.differentiable(noisy.clamp(0, 1), seeds=fold_in(seeds, 0))

    def view(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return one copy, clipped for display."""
        return self.sample(x, seeds=seeds).clamp(0, 1)

    @torch.no_grad()
    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Return PREDICT's answer, with CERTIFY's radius in `details["certified_radius"]`."""
        last = self.copies + self.n0
        chosen = self.tally(x, victim, seeds=seeds, first=self.copies, last=last).argmax(1)
        counts = self.count(x, victim, seeds=seeds)
        answer = self.decide(counts)
        assert answer.abstain is not None
        radius = self.radius(counts.gather(1, chosen[:, None])[:, 0])
        radius = radius.masked_fill(answer.abstain, 0.0)
        return replace(answer, details={"certified_radius": radius})

    def decide(self, counts: Tensor) -> Prediction:
        """Return the leading class or an abstention; `logits` as in `MedRDF.decide`."""
        top = counts.topk(2, dim=1).values
        return Prediction(
            torch.log((counts + 0.5) / (self.copies + 0.5 * counts.shape[1])),
            abstain=p_value(top[:, 0], top[:, 1]) > self.alpha,
            votes=counts,
        )

    def radius(self, votes: Tensor) -> Tensor:
        """Compute the certified L2 radius from the votes for the chosen class.

        Args:
            votes: votes of n copies, int64 (N,).

        Returns:
            float64 (N,), in pixel units of [0, 1] images; 0 without a certificate.
        """
        share = lower_bound(votes, self.copies, self.alpha)
        distance = torch.from_numpy(ndtri(share.cpu().numpy())).to(share)
        return torch.where(share > 0.5, self.sigma * distance, 0.0)


def lower_bound(hits: Tensor, n: int, alpha: float) -> Tensor:
    """Compute the Clopper-Pearson lower bound of a share, valid with probability 1 - alpha.

    Args:
        hits: successes (N,), 0 to `n`.
        n: trials.
        alpha: level, one-sided.

    Returns:
        float64 (N,) in [0, 1).
    """
    found = hits.cpu().double().numpy()
    # The alpha quantile of Beta(hits, n - hits + 1); 0 without a success.
    share = betaincinv(found.clip(min=1), n - found + 1, alpha)
    share[found == 0] = 0.0
    return torch.from_numpy(share).to(hits.device)
