"""An attack that judges its images as they will be handed over."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

HandOver = Callable[[Tensor, Tensor], Tensor]
"""Function of clean and attacked images (N, C, H, W): the images that the system will get."""


class Judging:
    """Mixin of attacks that choose among images, and so must see them as the system will.

    Rounding to 8 bits can undo an image that fooled the system by little; only who rounds before
    the choice knows. What such an attack returns is not rounded again.
    """

    _hand_over: HandOver | None = None

    @contextmanager
    def handing_over(self, rule: HandOver) -> Iterator[None]:
        """Judge, keep and return images after `rule` inside the block."""
        self._hand_over = rule
        try:
            yield
        finally:
            self._hand_over = None

    def handed_over(self, x: Tensor, images: Tensor) -> Tensor:
        """Return attacked images as the system will get them.

        Args:
            x: clean images (N, C, H, W).
            images: attacked ones.
        """
        return images if self._hand_over is None else self._hand_over(x, images)
