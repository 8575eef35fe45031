"""Arguments that attacks hand on to their base classes, each typed once.

The defaults are those of the base class; `conf/attack/*.yaml` shows them all.
"""

from typing import TypedDict

from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.target import Target


class Aim(TypedDict, total=False):
    """Arguments of every attack; see `Attack`."""

    target: Target | None
    criterion: Criterion | None


class LossAim(Aim, total=False):
    """Arguments of an attack on any loss; see `Attack`."""

    loss: Loss | None


class Climb(Aim, total=False):
    """Arguments of an iterated attack; see `Iterated`."""

    step_size: float | str | None
    early_stop: bool


class LossClimb(Climb, total=False):
    """Arguments of an iterated attack on any loss; see `Iterated`."""

    loss: Loss | None


class RestartClimb(Climb, total=False):
    """Arguments of an iterated attack from random starts; see `Iterated`."""

    restarts: int


class LossRestartClimb(RestartClimb, total=False):
    """Arguments of an iterated attack on any loss from random starts; see `Iterated`."""

    loss: Loss | None


class MomentumClimb(LossClimb, total=False):
    """Arguments of an attack that accumulates gradients; see `MIM`."""

    decay: float


class AutoClimb(RestartClimb, total=False):
    """Arguments of an attack that chooses its step sizes; see `APGD`."""

    norm: str
    rho: float
    momentum: float


class Query(Aim, total=False):
    """Arguments of a black-box attack; see `QueryAttack`."""

    chunk: int


class Estimate(Query, total=False):
    """Arguments of an attack that estimates gradients; see `Estimated`."""

    queries: int | None
    loss: Loss | None
