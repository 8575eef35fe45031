"""What the clinic sees of a model, defended or not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from medrobust.box.anchored import Anchored


@dataclass(frozen=True)
class Prediction:
    """Outputs for a batch of N images.

    Attributes:
        logits: (N, K), or (N, K, H, W) for segmentation; argmax over K is the answer. For detection
            (N, K, A), of every anchor; each class is a yes or no of its own (sigmoid).
        score: (N,) higher = more adversarial; detectors only.
        confidence: (N,) the defense's own confidence, e.g. MedRDF's robust metric.
        abstain: bool, True where the defense refuses to answer: (N,), or (N, H, W) for single
            pixels of a mask.
        confidence_map: (N, H, W) the same confidence of each pixel of a mask.
        votes: int64 (N, K), what the logits were computed from where copies of an image vote.
        details: further numbers (N,) that the defense gives of each image, by name.
        threshold: scalar; a detector refuses images whose score exceeds it.
        features: outputs of the modules that an attacker asked for, {tap: (N, ...)}.
        anchored: the boxes of the anchors; detection only.
    """

    logits: Tensor
    score: Tensor | None = None
    confidence: Tensor | None = None
    abstain: Tensor | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)
    features: Mapping[str, Tensor] = field(default_factory=dict)
    threshold: Tensor | None = None
    anchored: Anchored | None = None
    confidence_map: Tensor | None = None
    votes: Tensor | None = None

    @property
    def label(self) -> Tensor:
        """Class indices (N,) or (N, H, W); of a detector what leads at each anchor (N, A)."""
        return self.logits.argmax(dim=1)

    @property
    def answer(self) -> Tensor:
        """`label`, with K, which is no class, for the pixels of a mask that it abstains from."""
        if self.abstain is None or self.abstain.ndim < 3:
            return self.label
        return self.label.masked_fill(self.abstain, self.logits.shape[1])

    @property
    def probability(self) -> Tensor:
        """Of each class, like `logits`: softmax, or sigmoid for detection."""
        return self.logits.softmax(dim=1) if self.anchored is None else self.logits.sigmoid()

    @property
    def log_odds(self) -> Tensor:
        """Log-odds of each class against all others, float64 (N, K): what images are ranked by.

        The probability of a sure answer is exactly 1 in float32, and ranks nothing. Of a vote the
        odds come from its counts, so that equal shares are equal.
        """
        if self.votes is None:
            return log_odds(self.logits)
        counts = self.votes.double()
        others = counts.sum(1, keepdim=True) - counts + 0.5 * (counts.shape[1] - 1)
        return ((counts + 0.5) / others).log()

    def rows(self, rule: Callable[[Tensor], Tensor]) -> Self:
        """The same with a rule applied to everything that has one row per image.

        Args:
            rule: (N, ...) -> (N', ...), such as a choice of images.
        """
        return replace(self, **{name: _changed(value, rule) for name, value in vars(self).items()})


class Answers(NamedTuple):
    """Predictions for a whole set, on the host.

    Attributes:
        label: int64 (N,) or (N, H, W); of a box detector (N, M), -1 where there is no box.
        log_odds: float64 (N, K), see `Prediction.log_odds`; None for masks and boxes.
        score: (N,) detectors' scores, or None.
        confidence: (N,) or None.
        abstain: bool (N,), or (N, H, W) for pixels, or None.
        seconds: time the predictions took, also when replayed.
        key: of the cache, what they were computed from; None when code without source had a part.
        details: what else the defense gives of each image, (N,) by name.
        threshold: (N,) that each score was compared with, or None.
        boxes: (N, M, 4) of a box detector, the surest first, see `Kept`; or None.
        box_logit: (N, M) of each box, -inf where there is none, see `Kept`; or None.
    """

    label: Tensor
    log_odds: Tensor | None
    score: Tensor | None
    confidence: Tensor | None
    abstain: Tensor | None
    seconds: float
    key: str | None = None
    details: Mapping[str, Tensor] = MappingProxyType({})
    threshold: Tensor | None = None
    boxes: Tensor | None = None
    box_logit: Tensor | None = None


def log_odds(logits: Tensor) -> Tensor:
    """Logit of each class minus the log of the sum of the others' exponentials.

    Args:
        logits: (N, K), K >= 2.

    Returns:
        float64 (N, K), log(p / (1 - p)) of the softmax p, without rounding p to 0 or 1.
    """
    wide = logits.double()
    others = [
        torch.cat([wide[:, :own], wide[:, own + 1 :]], dim=1).logsumexp(1)
        for own in range(wide.shape[1])
    ]
    return wide - torch.stack(others, dim=1)


def _changed(value: Any, rule: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Mapping):
        return {name: rule(item) for name, item in value.items()}
    if isinstance(value, Anchored):
        return value.rows(rule)
    # A threshold is everybody's.
    return value if value is None or value.ndim == 0 else rule(value)
