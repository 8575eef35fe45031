"""MedRDF: a vote over denoised noisy copies, with abstention and a robust metric."""

import math

import torch
from scipy.special import betainc
from torch import Tensor

from medrobust.defense.core.base import Purifier, Smoother
from medrobust.defense.core.betting import lead_bounds, log_capital
from medrobust.defense.core.sequential import count_until_decided
from medrobust.defense.noise.additive import Noise
from medrobust.metric.robust_metric import default_threshold
from medrobust.model.core.victim import Victim
from medrobust.number import fraction
from medrobust.prediction import Prediction

STOPPING = ("fixed", "sequential")
STOPS = ("label", "label_and_rm")

EARLY = 0.01
"""Share of α that sequential decisions before the last copy may spend; the final test keeps the
rest, so that images that need all copies are decided nearly as in the fixed vote."""


class MedRDF(Smoother):
    """Majority vote over noisy, denoised copies (MedRDF, Eq. 3, 5 and 9, and Algorithm 1).

    With `stopping="fixed"` all n copies of every image vote. With `sequential` the same copies are
    counted in the same order, with early stopping as soon as an image is decided, at most after n.
    Both return a wrong class with probability at most α:

    - before the last copy a class is returned when the capital of bets on its lead over each other
      class exceeds K / (0.01 α) (`betting`, anytime-valid). A wrong class must have exceeded it
      against the true one, K - 1 pairs with probability 0.01 α / K each: below 0.01 α in all.
    - after all n copies the paper's binomial test decides, at level 0.99 α instead of α. It errs
      with probability at most 0.99 α (Eq. 6 to 8), stopped images or not.

    RM's interval is anytime-valid: both bounds hold with probability 1 - α, by K pairs at α / (2 K)
    each. (The lower bound errs for one of the K - 1 pairs of a wrong class and the true class, or
    for the true class and its true runner-up; the upper bound for one of the K - 1 pairs of the
    true class and another.)

    A stopped image's RM is estimated from its counted votes. With `decide="label"` these are enough
    for the class, but RM's estimate is rough and biased upward. With `label_and_rm` voting also
    continues until RM's interval lies on one side of the threshold.

    Args:
        noise: noise of the copies.
        denoiser: purifier applied to each copy.
        copies: copies per image; with sequential stopping, at most.
        stopping: `fixed` or `sequential`.
        decide: criterion of sequential stopping, `label` or `label_and_rm`.
        alpha: level of the two-sided binomial test; above it the defense abstains.
        rm_threshold: minimum RM of a robust answer, in [0, K); None for ⌊K / 2⌋, the smallest whole
            RM with more than half of the votes (`default_threshold`).
        chunk: copies per forward pass; does not change the result.
    """

    def __init__(
        self,
        noise: Noise,
        denoiser: Purifier,
        copies: int = 10_000,
        *,
        stopping: str = "fixed",
        decide: str = "label_and_rm",
        alpha: float = 0.001,
        rm_threshold: float | None = None,
        chunk: int = 512,
    ) -> None:
        super().__init__(copies, chunk=chunk)
        self.noise = noise
        self.denoiser = denoiser
        self.sequential = _one_of(STOPPING, stopping, "defense.stopping") == "sequential"
        self.needs_rm = _one_of(STOPS, decide, "defense.decide") == "label_and_rm"
        self.alpha = fraction(alpha, "defense.alpha", above=True)
        self.rm_threshold = None
        if rm_threshold is not None:
            self.rm_threshold = fraction(rm_threshold, "defense.rm_threshold", high=1000)

    def sample(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Draw D(x + η), one denoised noisy copy of each image."""
        return self.denoiser.differentiable(self.noise(x, seeds=seeds), seeds=seeds)

    def count(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Tensor:
        """Count the votes (N, K), int64, of all n copies or until the image is decided."""
        if not self.sequential:
            return super().count(x, victim, seeds=seeds)
        return count_until_decided(self, x, victim, seeds=seeds, decided=self.decided)

    def threshold(self, classes: int) -> float:
        """Return the minimum RM of a robust answer.

        Raises:
            ValueError: the victim has one class, or RM cannot exceed the threshold.
        """
        return check_threshold(self.rm_threshold, classes)

    def decided(self, counts: Tensor) -> Tensor:
        """Return True where sequential stopping ends at these votes (N, K); bool (N,)."""
        classes = counts.shape[1]
        wanted = self.threshold(classes) / classes
        first, second, other = leaders(counts)
        known = log_capital(first, second, other, 0.0) >= math.log(classes / (EARLY * self.alpha))
        if self.needs_rm:
            needed = math.log(2 * classes / self.alpha)
            above = log_capital(first, second, other, wanted) >= needed
            known &= above | (log_capital(second, first, other, -wanted) >= needed)
        return known

    def decide(self, counts: Tensor) -> Prediction:
        """Return top class, abstention and RM = K (n_A - n_B) / n, in [0, K] (Eq. 9).

        `logits` are the logarithms of the vote shares, smoothed by half a vote. `details` holds,
        per image: `rm_low` and `rm_high`, RM's interval; `rm_robust`, True if answered and RM
        reaches the threshold; `rm_settled`, True if the interval lies on one side of it; `copies`.
        """
        classes = counts.shape[1]
        threshold = self.threshold(classes)
        first, second, other = leaders(counts)
        drawn = counts.sum(1)
        rm = classes * (first - second) / drawn
        level = self.alpha * (1 - EARLY) if self.sequential else self.alpha
        abstain = (drawn == self.copies) & (p_value(first, second) > level)
        bounds = classes * lead_bounds(first, second, other, self.alpha / (2 * classes))
        return Prediction(
            logits=torch.log((counts + 0.5) / (drawn + 0.5 * classes)[:, None]),
            votes=counts,
            confidence=rm,
            abstain=abstain,
            details={
                "rm_low": bounds[:, 0],
                "rm_high": bounds[:, 1],
                "rm_robust": (rm >= threshold) & ~abstain,
                "rm_settled": (bounds[:, 0] >= threshold) | (bounds[:, 1] < threshold),
                "copies": drawn,
            },
        )


def _one_of(known: tuple[str, ...], value: str, name: str) -> str:
    if value not in known:
        raise ValueError(f"{name}={value}, expected {' or '.join(known)}")
    return value


def check_threshold(given: float | None, classes: int) -> float:
    """Return the minimum RM of a robust answer, by default `default_threshold`.

    Raises:
        ValueError: the victim has one class, or RM cannot exceed the threshold.
    """
    if classes < 2:
        raise ValueError("MedRDF compares the two leading classes; the victim has one")
    if given is None:
        return default_threshold(classes)
    if given >= classes:
        raise ValueError(
            f"defense.rm_threshold={given:g} cannot be exceeded with {classes} "
            f"classes; expected less than {classes}, or null for {default_threshold(classes)}"
        )
    return given


def leaders(counts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the votes (N, K, ...) of the leading class, the runner-up and all others, (N, ...)."""
    top = counts.topk(2, dim=1).values
    return top[:, 0], top[:, 1], counts.sum(1) - top.sum(1)


def p_value(first: Tensor, second: Tensor) -> Tensor:
    """Compute the two-sided binomial test of `first` against Binom(first + second, 1/2) (Eq. 5).

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
