"""Metrics of adversarial-image detectors: separation of the scores, and undetected attacks."""

import numpy as np
from torch import Tensor

from medrobust.metric.interval import Statistic, counted_bootstrap, share
from medrobust.prediction import Answers

TNR = 0.9
"""True-negative rate at the threshold of `tpr_at_90_tnr`."""

Measures = tuple[dict[str, float], dict[str, list[float]], dict[str, Statistic]]


def measure_detection(
    labels: Tensor, clean: Answers, attacked: Answers, *, changed: bool, seed: int
) -> Measures:
    """Compute the metrics of a detector's answers.

    Papers leave open which images count as adversarial. Here `auroc_detection` and `tpr_at_90_tnr`
    take all attacked test images as positives and all clean ones as negatives. The variants with
    `_successful` use only images that are classified correctly when clean: all of them as
    negatives, and those that the attack fools as positives (Ma et al. 2018, Lee et al. 2018).

    `tpr_at_90_tnr` takes its threshold from the clean test scores, as papers do, which no clinic
    could. The deployed detector takes it from clean validation images: `clean_acceptance_rate` and
    `detection_rate` are its TNR and TPR on the test images. `undetected_success_rate` is the share,
    among the images that are correct when clean, that the attack fools undetected; `fooled_rate`
    includes the detected ones.

    Args:
        labels: true classes (N,).
        clean: answers to the clean images, with scores, and abstentions at the threshold.
        attacked: answers to the attacked images.
        changed: False if the attacked images are the clean ones, so that there are no positives.
        seed: seed of the bootstrap.

    Returns:
        name -> value, name -> [low, high] at 95 %: Wilson's interval for shares, else a bootstrap
        over images, clean and attacked in pairs; and name -> statistic. A metric without images is
        left out.
    """
    assert clean.score is not None
    assert clean.abstain is not None
    assert attacked.score is not None
    assert attacked.abstain is not None
    vote, vote_before = attacked.label == labels, clean.label == labels
    passes, fooled = ~attacked.abstain, vote_before & ~vote
    shares = {"clean_acceptance_rate": ~clean.abstain}
    among = {}  # the images that a share is about, where it is not about all
    if passes.any():
        shares["accuracy_accepted"], among["accuracy_accepted"] = vote, passes
    if changed:
        shares["detection_rate"] = attacked.abstain
        if vote_before.any():
            shares |= {"fooled_rate": fooled, "undetected_success_rate": fooled & passes}
            among |= dict.fromkeys(("fooled_rate", "undetected_success_rate"), vote_before)
        if fooled.any():
            shares["detection_rate_successful"] = attacked.abstain
            among["detection_rate_successful"] = fooled
    values: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    statistics: dict[str, Statistic] = {}
    for name, hits in shares.items():
        values[name], intervals[name], statistics[name] = share(hits, among.get(name))
    if not changed:
        return values, intervals, statistics
    ranked = Ranked(clean.score.numpy(), attacked.score.numpy())
    everyone = np.ones(len(labels))
    right, won = vote_before.double().numpy(), fooled.double().numpy()
    for suffix, negative, positive in (("", everyone, everyone), ("_successful", right, won)):
        if not positive.any():
            continue
        for name, rule in (("auroc_detection", ranked.auroc), ("tpr_at_90_tnr", ranked.tpr)):

            def over(counts: np.ndarray, r=rule, n=negative, p=positive) -> np.ndarray:  # type: ignore[no-untyped-def]
                return r(counts * n, counts * p)

            values[name + suffix] = float(over(everyone[None])[0])
            intervals[name + suffix] = counted_bootstrap(over, len(labels), seed=seed)
            statistics[name + suffix] = over
    return values, intervals, statistics


class Ranked:
    """Scores of the same images, clean and attacked, higher = more adversarial.

    Args:
        clean: scores of the clean images (N,).
        attacked: scores of the attacked images (N,).

    Raises:
        ValueError: a score is NaN; infinite ones can be ranked.
    """

    def __init__(self, clean: np.ndarray, attacked: np.ndarray) -> None:
        both = np.concatenate([clean, attacked])
        if np.isnan(both).any():
            raise ValueError(
                f"{int(np.isnan(both).sum())} of {len(both)} detection scores are NaN, expected "
                "numbers: look at the detector's `anomaly`"
            )
        self.rank = np.unique(both, return_inverse=True)[1]
        self.clean, self.attacked = self.rank[: len(clean)], self.rank[len(clean) :]

    def auroc(self, negative: np.ndarray, positive: np.ndarray) -> np.ndarray:
        """Return the chance that an attacked image scores above a clean one; ties count half.

        Args:
            negative: (R, N), weight of each clean image.
            positive: (R, N), weight of each attacked image.

        Returns:
            (R,); NaN if one side is empty.
        """
        order = np.argsort(self.rank, kind="stable")
        starts = np.flatnonzero(np.diff(self.rank[order], prepend=-1))
        none = np.zeros_like(negative)
        inside, outside = (
            np.add.reduceat(np.concatenate(pair, axis=1)[:, order], starts, axis=1)
            for pair in ((none, positive), (negative, none))
        )
        below = outside.cumsum(1) - outside / 2
        return _share((inside * below).sum(1), inside.sum(1) * outside.sum(1))

    def tpr(self, negative: np.ndarray, positive: np.ndarray) -> np.ndarray:
        """Return the share of attacked images above the lowest threshold of a TNR of `TNR`.

        Arguments and result are those of `auroc`.
        """
        order = np.argsort(self.clean, kind="stable")
        kept = negative[:, order].cumsum(1)
        place = (kept >= TNR * kept[:, -1:] - 1e-9).argmax(1)
        above = self.attacked[None] > self.clean[order][place][:, None]
        return _share((positive * above).sum(1), positive.sum(1) * (kept[:, -1] > 0))


def _share(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
