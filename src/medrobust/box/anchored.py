"""Anchors of a dense detector, and the offset that it predicts for each."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Self

from torch import Tensor

if TYPE_CHECKING:
    from torchvision.models.detection._utils import BoxCoder


@cache
def coder() -> "BoxCoder":
    """Return the rule between boxes and offsets, that of RetinaNet."""
    from torchvision.models.detection._utils import BoxCoder  # heavy

    return BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Anchored:
    """The boxes that a dense detector predicts, one per anchor.

    Attributes:
        offsets: (N, A, 4), shift and logarithmic stretch of each anchor, in its own sides (Ren et
            al. 2015, eq. 2).
        anchors: (A, 4), left, top, right and bottom in pixels.
        canvas: height and width of the image in pixels.
    """

    offsets: Tensor
    anchors: Tensor
    canvas: tuple[int, int]

    @property
    def boxes(self) -> Tensor:
        """Return the boxes (N, A, 4): left, top, right, bottom in pixels, clipped to the image."""
        count = len(self.offsets)
        anchors = self.anchors.expand(count, -1, -1).reshape(-1, 4)
        boxes = coder().decode_single(self.offsets.reshape(-1, 4), anchors).view(count, -1, 4)
        high = boxes.new_tensor([self.canvas[1], self.canvas[0]] * 2)
        return boxes.clamp(min=0).minimum(high)

    def rows(self, rule: Callable[[Tensor], Tensor]) -> Self:
        """Return a copy with `rule` applied to the per-image tensors."""
        return replace(self, offsets=rule(self.offsets))
