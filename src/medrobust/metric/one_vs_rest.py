"""One class against the rest: ranks, thresholds, sensitivity and specificity."""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from medrobust.metric.interval import mean_where

LEVELS = (0.9, 0.95)
"""Specificities at which a sensitivity is read off the curve."""
_ROUNDING = 1e-9


class Last:
    """Function of the images' weights that keeps its last two results, for metrics that share it.

    A metric is asked for under equal weights, for its value, and under those of the bootstrap.

    Args:
        function: weights (R, N) -> arrays with R rows.
    """

    def __init__(self, function: Callable[[np.ndarray], tuple[np.ndarray, ...]]) -> None:
        self._function = function
        self._seen: deque[tuple[np.ndarray, tuple[np.ndarray, ...]]] = deque(maxlen=2)

    def __call__(self, counts: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the function of these weights, computed anew for another array alone."""
        for weights, result in self._seen:
            if weights is counts:
                return result
        self._seen.append((counts, self._function(counts)))
        return self._seen[-1][1]


class OneVsRest:
    """Images ranked by their score for one class.

    Arguments `counts` of its methods are the weights of the images, float64 (R, N).

    Args:
        score: (N,), higher = more likely of the class; log-odds, which never saturate.
        positive: bool (N,), images of the class.
        answered: bool (N,), images without abstention; None for all.
    """

    def __init__(
        self, score: np.ndarray, positive: np.ndarray, answered: np.ndarray | None = None
    ) -> None:
        order = np.argsort(score, kind="stable")
        self._inside, self._outside = order[positive[order]], order[~positive[order]]
        scores, others = score[self._inside], score[self._outside]
        # Number of images outside of the class with a lower, and a lower or equal score.
        self._lower = np.searchsorted(others, scores, side="left")
        self._upper = np.searchsorted(others, scores, side="right")
        known = np.ones(len(score)) if answered is None else answered.astype(np.float64)
        self._answered, self._spared = known[self._inside], known[self._outside]
        self._found = Last(self._measured)

    def wins(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the won pairs and all pairs of an image of the class and another, (R,) each.

        A pair is won where the image of the class has the higher score; ties count half
        (Mann-Whitney). Abstentions are ranked, too.
        """
        won, pairs, *_ = self._found(counts)
        return won, pairs

    def auroc(self, counts: np.ndarray) -> np.ndarray:
        """Return the area under the ROC curve, (R,) in [0, 1]; NaN without pairs."""
        won, pairs = self.wins(counts)
        return np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0)

    def sensitivities(self, counts: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the largest sensitivity at a specificity of at least each of `LEVELS`, (R,) each.

        The threshold is chosen on the same images, as papers do. An abstention is neither positive
        nor a true negative; where no threshold reaches the specificity, the sensitivity is 0. It is
        NaN without images inside or outside of the class.
        """
        return self._found(counts)[2:]

    def _measured(self, counts: np.ndarray) -> tuple[np.ndarray, ...]:
        inside, outside = counts[:, self._inside], counts[:, self._outside]
        below = _before(outside)
        ties = (below[:, self._lower] + below[:, self._upper]) / 2
        total, others = inside.sum(1), below[:, -1]
        pairs = total * others
        sensitivities, specificities = self._rates(inside, outside)
        none = np.zeros((len(counts), 1))
        best = []
        for level in LEVELS:
            reached = specificities >= level - _ROUNDING
            found = np.concatenate([np.where(reached, sensitivities, 0.0), none], axis=1).max(1)
            best.append(np.where(pairs > 0, found, np.nan))
        return (inside * ties).sum(1), pairs, *best

    def _rates(self, inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return sensitivity and specificity at each score of the class, ascending, (R, P) each.

        Another threshold has the sensitivity of one of these and no more specificity.
        """
        found = (inside * self._answered)[:, ::-1].cumsum(1)[:, ::-1]
        spared = _before(outside * self._spared)[:, self._lower]
        return _shares(found, inside.sum(1)), _shares(spared, outside.sum(1))


def _before(weights: np.ndarray) -> np.ndarray:
    """Return the sum of the first 0, 1, … N weights, (R, N + 1)."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def _shares(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(part, total[:, None], out=np.zeros_like(part), where=total[:, None] > 0)


def macro_auroc(scores: np.ndarray, true: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the one-vs-rest AUROC (Mann-Whitney: ties count half), mean over present classes.

    Args:
        scores: (N, K), higher = more likely; log-odds, which never saturate.
        true: (N,) classes.
        counts: (R, N), how often each image counts.

    Returns:
        (R,) in [0, 1]; NaN where fewer than two classes are present.
    """
    ranked = [OneVsRest(score, true == label) for label, score in enumerate(scores.T)]
    return mean_auroc(ranked, counts)


def mean_auroc(ranked: Sequence[OneVsRest], counts: np.ndarray) -> np.ndarray:
    """Return `macro_auroc` of images that are ranked for each class."""
    won, pairs = (np.stack(part, 1) for part in zip(*(r.wins(counts) for r in ranked), strict=True))
    return mean_where(won, pairs, pairs > 0)
