"""MedRDF for masks: noisy copies, a denoiser, and a vote, a test and an RM at every pixel."""

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
    later work. Here each pixel has its own votes, leading classes, test and RM, all from the same
    n copies of the image. A victim with one answer per image is a mask of one pixel: the answer is
    then that of MedRDF's fixed vote.

    An image has many pixels, and each may be answered wrongly: a wrong class, against the victim's
    most frequent one under this noise, as in Eq. 4. Of an image's M pixels, at least k are wrong
    with probability at most alpha when each is tested at level alpha k / M (the generalised
    Bonferroni rule, Lehmann and Romano 2005, Theorem 2.1; by Eq. 6 to 8 a pixel is wrong with
    probability at most its level, so that on average at most k alpha are). It holds however pixels
    depend on each other, which they do, since they share copies. Holm's rule, of SegCertify
    (Fischer, Baader and Vechev 2021), would need a class for each pixel that is chosen on other
    copies: where the same votes choose the class and test it, it has no such proof.

    Args:
        noise: how copies are made; must leave pixels where they are.
        denoiser: a purifier applied to each copy.
        copies: copies per image.
        alpha: chance that an image has k or more wrong pixels.
        k: 1, no wrong pixel, to M; None: M, each pixel is tested at alpha by itself, as in Eq. 5.
        rm_threshold: RM from which a pixel is called robust, in [0, K); None: as in `MedRDF`.
        chunk: copies that pass the victim at once; changes no result.

    Raises:
        ValueError: the noise moves pixels, so that votes for a pixel would be of its neighbours.
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
                    f"{type(part).__name__} moves pixels, so that a vote per pixel means nothing; "
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
        """D(x + η): one noisy copy of each image, denoised."""
        return self.denoiser.differentiable(self.noise(x, seeds=seeds), seeds=seeds)

    def level(self, pixels: int) -> float:
        """Level of each pixel's test in an image of so many."""
        return self.alpha if self.k is None else self.alpha * min(self.k, pixels) / pixels

    def decide(self, counts: Tensor) -> Prediction:
        """Top class, abstention and RM = K (n_A - n_B) / n of each pixel (Eq. 5 and 9).

        Args:
            counts: votes (N, K, H, W), int64; or (N, K).

        Returns:
            `logits`, logarithms of the vote shares, smoothed by half a vote; `abstain` (N, H, W);
            `confidence_map` (N, H, W), RM in [0, K]; `confidence` (N,), its mean over the image;
            in `details` `rm_robust`, the share of pixels (N,) that are answered with an RM that
            reaches the threshold.

        Raises:
            ValueError: so few copies that no pixel could ever be answered.
        """
        level = self.level(counts[0, 0].numel())
        if self.copies - 1 < -math.log2(level):  # a unanimous vote has the p-value 2^(1 - n)
            raise ValueError(
                f"defense.copies={self.copies} answer no pixel at level {level:.2g}, even if all "
                f"agree; set copies={math.ceil(1 - math.log2(level))} or more, or raise "
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
    """Over pixels: (N, ...) -> (N,)."""
    return values.float().view(len(values), -1).mean(1)


def _p_values(first: Tensor, second: Tensor) -> Tensor:
    """`p_value` of every pixel, each pair of counts once: an image has far fewer than pixels."""
    pairs, place = torch.unique(first << 32 | second, return_inverse=True)
    return p_value(pairs >> 32, pairs & 0xFFFFFFFF)[place]
