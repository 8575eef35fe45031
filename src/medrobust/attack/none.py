"""No attack: the clean column of a table."""

from typing import ClassVar

from torch import Tensor

from medrobust.attack.core.base import Attack
from medrobust.attack.core.goal import Goal
from medrobust.threat.surrogate import Surrogate


class NoAttack(Attack):
    """Returns the clean images.

    Args:
        eps: null; it is here so that every attack has the key.
    """

    needs_eps: ClassVar[bool] = False
    needs_gradient: ClassVar[bool] = False

    def __init__(self, eps: None = None) -> None:
        if eps is not None:
            raise ValueError(f"attack.eps={eps}: attack=none has no budget; leave attack.eps=null")
        super().__init__(eps)

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """`x` itself."""
        return x
