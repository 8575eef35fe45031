"""Operating points: thresholds of a class's score, chosen on one set and used on another."""

import numpy as np

from medrobust.number import NumberError, fraction

YOUDEN = "youden"
_ROUNDING = 1e-9


def operating_rule(value: str | float | None) -> str | float | None:
    """Return a rule of `choose_thresholds` as it is identified: `youden`, or a float.

    Raises:
        NumberError: it is neither `youden` nor a specificity in (0, 1].
    """
    if value is None or value == YOUDEN:
        return value
    try:
        return fraction(value, "operating_point", above=True)
    except NumberError as error:
        raise NumberError(f"{error}, or {YOUDEN}") from None


def choose_thresholds(
    scores: np.ndarray, true: np.ndarray, answered: np.ndarray, rule: str | float
) -> list[float]:
    """Return the threshold of each class's score, against the rest.

    Args:
        scores: (N, K), higher = more likely of the class.
        true: (N,) classes.
        answered: bool (N,); an abstention is neither positive nor a true negative.
        rule: of `operating_rule`: `youden` for the largest sensitivity + specificity - 1 (Youden
            1950), or a specificity for the lowest threshold that has at least that.

    Returns:
        K numbers; NaN for a class without images inside or outside, infinite where nothing reaches
        the specificity, so that no image is positive.
    """
    found = []
    for own, score in enumerate(scores.T):
        curve = _Curve(score, true == own, answered)
        found.append(
            curve.youden_threshold() if rule == YOUDEN else curve.threshold_at(float(rule))
        )
    return found


class _Curve:
    """Sensitivity and specificity at every distinct score; a score that reaches it is positive."""

    def __init__(self, score: np.ndarray, positive: np.ndarray, answered: np.ndarray) -> None:
        self.defined = bool(positive.any() and not positive.all())
        self.scores, place = np.unique(score, return_inverse=True)
        size = len(self.scores)
        inside, outside = (
            np.bincount(place[part & answered], minlength=size) for part in (positive, ~positive)
        )
        self.sensitivity = inside[::-1].cumsum()[::-1] / max(1, positive.sum())
        below = np.concatenate([[0], outside.cumsum()])[:-1]
        self.specificity = below / max(1, (~positive).sum())

    def threshold_at(self, specificity: float) -> float:
        """Return the lowest score with a specificity of at least so much, infinity without one."""
        reached = np.flatnonzero(self.specificity >= specificity - _ROUNDING)
        return self._score(int(reached[0]) if len(reached) else len(self.scores))

    def youden_threshold(self) -> float:
        """Return the score with the largest sensitivity + specificity - 1, the highest of equals.

        Source: Youden, Index for rating diagnostic tests, Cancer 1950.
        """
        index = self.sensitivity + self.specificity
        return self._score(int(np.flatnonzero(index >= index.max() - _ROUNDING)[-1]))

    def _score(self, place: int) -> float:
        if not self.defined:
            return float("nan")
        return float(self.scores[place]) if place < len(self.scores) else float("inf")
