"""What the clinic sees of a model, defended or not."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """Outputs for a batch of N images.

    Attributes:
        logits: (N, K), or (N, K, H, W) for segmentation; argmax over K is the answer.
        score: (N,) higher = more adversarial; detectors only.
        confidence: (N,) the defense's own confidence, e.g. MedRDF's robust metric.
        abstain: (N,) bool, True where the defense refuses to answer.
        details: further numbers (N,) that the defense gives of each image, by name.
        threshold: scalar; a detector refuses images whose score exceeds it.
        features: outputs of the modules that an attacker asked for, {tap: (N, ...)}.
    """

    logits: Tensor
    score: Tensor | None = None
    confidence: Tensor | None = None
    abstain: Tensor | None = None
    details: Mapping[str, Tensor] = field(default_factory=dict)
    features: Mapping[str, Tensor] = field(default_factory=dict)
    threshold: Tensor | None = None

    @property
    def label(self) -> Tensor:
        """Class indices (N,) or (N, H, W)."""
        return self.logits.argmax(dim=1)
