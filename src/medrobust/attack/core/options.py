"""Options that attacks hand on to their base classes, each typed once.

The defaults are those of the base class; `conf/attack/*.yaml` shows them all.
"""

from typing import TypedDict

from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.target import Target


class Options(TypedDict, total=False):
    """Options of every attack; see `Attack`."""

    target: Target | None
    criterion: Criterion | None


class LossOptions(Options, total=False):
    """Options of an attack on any loss; see `Attack`."""

    loss: Loss | None


class ClimbOptions(Options, total=False):
    """Options of an iterated attack; see `Iterated`."""

    step_size: float | str | None
    early_stop: bool


class LossClimbOptions(ClimbOptions, total=False):
    """Options of an iterated attack on any loss; see `Iterated`."""

    loss: Loss | None


class RestartOptions(ClimbOptions, total=False):
    """Options of an iterated attack from random starts; see `Iterated`."""

    restarts: int


class LossRestartOptions(RestartOptions, total=False):
    """Options of an iterated attack on any loss from random starts; see `Iterated`."""

    loss: Loss | None


class MomentumOptions(LossClimbOptions, total=False):
    """Options of an attack that accumulates gradients; see `MIM`."""

    decay: float


class AutoOptions(RestartOptions, total=False):
    """Options of an attack that chooses its step sizes; see `APGD`."""

    norm: str
    rho: float
    momentum: float


class QueryOptions(Options, total=False):
    """Options of a black-box attack; see `QueryAttack`."""

    chunk: int


class EstimateOptions(QueryOptions, total=False):
    """Options of an attack that estimates gradients; see `Estimated`."""

    queries: int | None
    loss: Loss | None
