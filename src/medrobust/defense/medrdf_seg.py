"""MedRDF for masks: a vote over denoised noisy copies, with a test and an RM at every pixel."""

import math

import torch
from torch import Tensor

from medrobust.defense.core.base import Purifier, Smoother
from medrobust.defense.medrdf import check_threshold, leaders, p_value
from medrobust.defense.noise.additive import Noise
from medrobust.number import fraction, whole
from medrobust.prediction import Prediction


class MedRDFSeg(Smoother):
    """Majority vote over noisy, denoised copies, pixel by pixel.

    MedRDF (Eq. 1 to 9, Algorithm 1) is defined for one answer per image; its authors leave masks to
    future work. Here each pixel has its own votes, leading classes, test and RM, all from the same
    n copies of the image. For a classifier, a mask of one pixel, it equals MedRDF's fixed vote.

    A pixel is wrong if its class is not the victim's most frequent one under this noise, as in Eq.
    4. At least k of an image's M pixels are wrong with probability at most alpha when each is
    tested at level alpha k / M (the generalised Bonferroni rule, Lehmann and Romano 2005, Theorem
    2.1; by Eq. 6 to 8 a pixel is wrong with probability at most its level, so that on average at
    most k alpha are). This holds under any dependence of the pixels, which share copies. Holm's
    rule, used in SegCertify (Fischer, Baader and Vechev 2021), needs the class of each pixel chosen
    on other copies; its proof does not cover a class that is chosen and tested on the same votes.

    Args:
        noise: noise of the copies; must not move pixels.
        denoiser: purifier applied to each copy.
        copies: copies per image.
        alpha: probability that an image has k or more wrong pixels.
        k: from 1, for no wrong pixel, to M; None for M, each pixel tested at alpha as in Eq. 5.
        rm_threshold: minimum RM of a robust pixel, in [0, K); None as in `MedRDF`.
        chunk: copies per forward pass; does not change the result.

    Raises:
        ValueError: the noise moves pixels, so that votes would mix neighbouring pixels.
    """

    dense = True

    def __init__(
        self,
        noise: Noise,
        denoiser: Purifier,
        copies: int = 10_000,
        *,
        alpha: float = 0.001,
        k: int | None = 1,
        rm_threshold: float | None = None,
        chunk: int = 64,
    ) -> None:
        super().__init__(copies, chunk=chunk)
        for part in (noise, denoiser):
            if part.moves_pixels:
                raise ValueError(
                    f"{type(part).__name__} moves pixels, so that a vote per pixel is invalid; "
                    "set defense/noise=gaussian, salt_pepper or poisson"
                )
        self.noise = noise
        self.denoiser = denoiser
        self.alpha = fraction(alpha, "defense.alpha", above=True)
        self.k = k if k is None else whole(k, "defense.k", low=1)
        self.rm_threshold = None
        if rm_threshold is not None:
            self.rm_threshold = fraction(rm_threshold, "defense.rm_threshold", high=1000)

    def sample(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Draw D(x + η), one denoised noisy copy of each image."""
        return self.denoiser.differentiable(self.noise(x, seeds=seeds), seeds=seeds)

    def level(self, pixels: int) -> float:
        """Return the level of each pixel's test in an image of so many pixels."""
        return self.alpha if self.k is None else self.alpha * min(self.k, pixels) / pixels

    def decide(self, counts: Tensor) -> Prediction:
        """Return top class, abstention and RM = K (n_A - n_B) / n of each pixel (Eq. 5 and 9).

        Args:
            counts: votes (N, K, H, W), int64; or (N, K).

        Returns:
            `logits`, logarithms of the vote shares, smoothed by half a vote; `abstain` (N, H, W);
            `confidence_map` (N, H, W), RM in [0, K]; `confidence` (N,), its mean over the image;
            in `details` `rm_robust`, the share of pixels (N,) that are answered with an RM that
            reaches the threshold.

        Raises:
            ValueError: there are too few copies to ever answer a pixel.
        """
        level = self.level(counts[0, 0].numel())
        if self.copies - 1 < -math.log2(level):  # a unanimous vote has the p-value 2^(1 - n)
            raise ValueError(
                f"defense.copies={self.copies} cannot answer a pixel at level {level:.2g}, even if "
                f"all agree; set copies={math.ceil(1 - math.log2(level))} or more, or raise "
                "defense.k or defense.alpha"
            )
        classes = counts.shape[1]
        threshold = check_threshold(self.rm_threshold, classes)
        first, second, _ = leaders(counts)
        rm = classes * (first - second) / self.copies
        abstain = _p_values(first, second) > level
        robust = (rm >= threshold) & ~abstain
        return Prediction(
            torch.log((counts + 0.5) / (self.copies + 0.5 * classes)),
            confidence=_mean(rm),
            confidence_map=rm if rm.ndim > 1 else None,
            abstain=abstain,
            details={"rm_robust": _mean(robust)},
            votes=counts if counts.ndim == 2 else None,
        )


def _mean(values: Tensor) -> Tensor:
    """Average over pixels, (N, ...) -> (N,)."""
    return values.float().view(len(values), -1).mean(1)


def _p_values(first: Tensor, second: Tensor) -> Tensor:
    """Compute `p_value` of every pixel, once for each distinct pair of counts."""
    pairs, place = torch.unique(first << 32 | second, return_inverse=True)
    return p_value(pairs >> 32, pairs & 0xFFFFFFFF)[place]
