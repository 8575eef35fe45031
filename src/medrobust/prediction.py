"""Predictions of a model, defended or not."""

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

        >>> Prediction(logits).label

    Attributes:
        logits: (N, K), or (N, K, H, W) for segmentation; argmax over K is the predicted class. For
            box detection (N, K, A), per anchor, with an independent sigmoid per class.
        score: (N,) higher = more adversarial; detectors of attacks only.
        confidence: (N,) confidence of the defense, e.g. MedRDF's robust metric.
        abstain: bool, True where the defense abstains: (N,), or (N, H, W) for single pixels of a
            mask.
        confidence_map: (N, H, W) confidence of each pixel of a mask.
        votes: int64 (N, K), counts behind the logits if copies of an image vote.
        details: further numbers (N,) of a defense per image, by name.
        threshold: scalar; a detector rejects images whose score exceeds it.
        features: outputs of the modules that the caller requested, {tap: (N, ...)}.
        anchored: boxes of the anchors; box detection only.
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
        """Return class indices (N,) or (N, H, W); for boxes the leading class per anchor (N, A)."""
        return self.logits.argmax(dim=1)

    @property
    def answer(self) -> Tensor:
        """Return `label`, with the invalid class K for abstained pixels of a mask."""
        if self.abstain is None or self.abstain.ndim < 3:
            return self.label
        return self.label.masked_fill(self.abstain, self.logits.shape[1])

    @property
    def probability(self) -> Tensor:
        """Return class probabilities in the shape of `logits`: softmax, or sigmoid for boxes."""
        return self.logits.softmax(dim=1) if self.anchored is None else self.logits.sigmoid()

    @property
    def log_odds(self) -> Tensor:
        """Return the log-odds of each class against all others, float64 (N, K), for ranking.

        Probabilities saturate at exactly 1 in float32 and cannot rank confident predictions. The
        odds of a vote come from its counts, so that equal shares stay equal.
        """
        if self.votes is None:
            return log_odds(self.logits)
        counts = self.votes.double()
        others = counts.sum(1, keepdim=True) - counts + 0.5 * (counts.shape[1] - 1)
        return ((counts + 0.5) / others).log()

    def rows(self, rule: Callable[[Tensor], Tensor]) -> Self:
        """Return a copy with a rule applied to everything that has one row per image.

        Args:
            rule: function (N, ...) -> (N', ...), such as a selection of images.
        """
        return replace(self, **{name: _changed(value, rule) for name, value in vars(self).items()})


class Answers(NamedTuple):
    """Predictions for a whole set, on the host.

    Attributes:
        label: int64 (N,) or (N, H, W); (N, M) for a box detector, -1 for padding.
        log_odds: float64 (N, K), see `Prediction.log_odds`; None for masks and boxes.
        score: (N,) scores of a detector of attacks, or None.
        confidence: (N,) or None.
        abstain: bool (N,), or (N, H, W) for pixels, or None.
        seconds: time of the predictions, also if replayed.
        key: key in the cache; None if code without source was involved.
        details: further numbers of the defense per image, (N,) by name.
        threshold: (N,) threshold of each score, or None.
        boxes: (N, M, 4) boxes of a box detector, most confident first, see `Kept`; or None.
        box_logit: (N, M) logit of each box, -inf for padding, see `Kept`; or None.
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
    """Return the logit of each class minus the log-sum-exp of the others.

    Args:
        logits: logits (N, K), K >= 2.

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
    # A scalar threshold is shared by all images.
    return value if value is None or value.ndim == 0 else rule(value)
