"""What is measured of a detector: how well scores tell attacked from clean, and what slips by."""

import numpy as np
from torch import Tensor

from medrobust.metric.interval import counted_bootstrap, proportion
from medrobust.prediction import Answers

TNR = 0.9
"""Share of clean test images that pass at the threshold of `tpr_at_90_tnr`."""

Measures = tuple[dict[str, float], dict[str, list[float]]]


def measure_detection(
    labels: Tensor, clean: Answers, attacked: Answers, *, changed: bool, seed: int
) -> Measures:
    """Metrics of a detector's answers.

    Papers leave open which images count as adversarial. Here `auroc_detection` and `tpr_at_90_tnr`
    take all attacked test images as positives and all clean ones as negatives. The same with
    `_successful` keeps to images that the bare answer gets right when clean: as negatives all of
    those, as positives those of them that the attack turns wrong (Ma et al. 2018, Lee et al. 2018).

    `tpr_at_90_tnr` has its threshold from the clean test scores, as papers do; no clinic could
    choose it so. What is deployed has its threshold from clean validation images:
    `clean_acceptance_rate` and `detection_rate` are its TNR and TPR on the test images, and
    `undetected_success_rate` is the share of the images that were right when clean which the attack
    turns wrong and the detector lets pass; `fooled_rate` counts the detected ones, too.

    Args:
        labels: true classes (N,).
        clean: answers to the clean images; with scores, and abstentions at the threshold.
        attacked: answers to the attacked images.
        changed: False where the attacked images are the clean ones; then there are no positives.
        seed: of the bootstrap.

    Returns:
        name -> value, name -> [low, high]; 95 %, Wilson's for shares, else a bootstrap over images,
        each with its clean and its attacked self. A metric of no images is left out.
    """
    assert clean.score is not None
    assert clean.abstain is not None
    assert attacked.score is not None
    assert attacked.abstain is not None
    vote, vote_before = attacked.label == labels, clean.label == labels
    passes, fooled = ~attacked.abstain, vote_before & ~vote
    shares = {"clean_acceptance_rate": ~clean.abstain}
    if passes.any():
        shares["accuracy_accepted"] = vote[passes]
    if changed:
        shares["detection_rate"] = attacked.abstain
        if vote_before.any():
            shares["fooled_rate"] = fooled[vote_before]
            shares["undetected_success_rate"] = (fooled & passes)[vote_before]
        if fooled.any():
            shares["detection_rate_successful"] = attacked.abstain[fooled]
    values: dict[str, float] = {}
    intervals: dict[str, list[float]] = {}
    for name, hits in shares.items():
        values[name], intervals[name] = proportion(hits)
    if not changed:
        return values, intervals
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
    return values, intervals


class Ranked:
    """Scores of the same images, clean and attacked, higher = more adversarial.

    Args:
        clean: (N,).
        attacked: (N,).

    Raises:
        ValueError: a score is no number; infinite ones can be ranked.
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
        """Chance that an attacked image scores above a clean one; ties count half.

        Args:
            negative: (R, N), how often each clean image counts.
            positive: (R, N), how often each attacked one does.

        Returns:
            (R,), NaN where one side is empty.
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
        """Share of attacked images above the least clean score that `TNR` of the clean ones keep.

        Args, returns: as `auroc`.
        """
        order = np.argsort(self.clean, kind="stable")
        kept = negative[:, order].cumsum(1)
        place = (kept >= TNR * kept[:, -1:] - 1e-9).argmax(1)
        above = self.attacked[None] > self.clean[order][place][:, None]
        return _share((positive * above).sum(1), positive.sum(1) * (kept[:, -1] > 0))


def _share(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0)
