"""The adversarial images that an attack returns, and what it counted."""

from typing import NamedTuple

from torch import Tensor


class Crafted(NamedTuple):
    """Adversarial images of a batch.

    Attributes:
        images: adversarial images like the clean ones.
        queries: int64 (N,), queries of each image; None for attacks that
            do not count them.
        member: int64 (N,), of an ensemble: number of the attack that fooled each image, -1 = none.
    """

    images: Tensor
    queries: Tensor | None = None
    member: Tensor | None = None
