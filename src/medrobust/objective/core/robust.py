"""The base class of robust training: craft adversarial images, then minimise a loss on them."""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypedDict

from torch import Tensor

from medrobust.attack.core.base import Attack
from medrobust.attack.pgd import PGD
from medrobust.model.core.frozen import frozen_eval
from medrobust.model.core.victim import Victim
from medrobust.number import fraction, whole
from medrobust.objective.core.balance import class_weights
from medrobust.objective.core.base import Objective
from medrobust.threat.surrogate import VictimSurrogate

if TYPE_CHECKING:
    from medrobust.data.core.base import MedicalDataModule

Network = Callable[[Tensor], Tensor]


class RobustOptions(TypedDict, total=False):
    """Options of every robust objective; see `RobustObjective`."""

    eps: float | str
    step_size: float | str
    steps: int
    val_steps: int
    val_metric: str | None
    class_balanced: bool


class RobustObjective(Objective):
    """A min-max objective: an inner attack crafts x', and an outer loss of x and x' is minimised.

    The inner attack is that of the benchmark, on the undefended victim in evaluation mode. It
    returns, per image, the iterate of the highest loss; the papers take the last one.

    Args:
        name: name in paths and tables.
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        step_size: step size of the inner attack, in pixel units.
        steps: gradient steps of the inner attack, >= 1.
        val_steps: gradient steps of the PGD on validation images, in the same ball.
        val_metric: metric under that PGD that selects the epoch; None for accuracy, or Dice.
        class_balanced: weight the cross-entropy's classes by inverse frequency in the training
            split; the inner attack and a divergence, which has no classes, are not weighted.
    """

    weight: Tensor | None

    def __init__(
        self,
        name: str,
        *,
        eps: float | str = "8/255",
        step_size: float | str = "2/255",
        steps: int = 10,
        val_steps: int = 10,
        val_metric: str | None = None,
        class_balanced: bool = False,
    ) -> None:
        super().__init__(name)
        self.class_balanced = class_balanced
        self.register_buffer("weight", None, persistent=False)
        eps = fraction(eps, "objective.eps", above=True)
        step_size = fraction(step_size, "objective.step_size", above=True)
        steps = whole(steps, "objective.steps", low=1)
        self.inner = self.inner_attack(eps, step_size, steps)
        self.val_metric = val_metric
        self.validation = PGD(eps, steps=whole(val_steps, "objective.val_steps", low=1))

    def prepare(self, data: "MedicalDataModule") -> None:
        """Count the classes of the training split, if they are to be balanced."""
        if self.class_balanced:
            self.weight = class_weights(data)

    @abstractmethod
    def inner_attack(self, eps: float, step_size: float, steps: int) -> Attack:
        """Return the attack that crafts x' from x."""

    @abstractmethod
    def outer(self, network: Network, x: Tensor, adversarial: Tensor, y: Tensor) -> Tensor:
        """Compute the loss to minimise, a scalar.

        Args:
            network: the victim in training mode, or the same with other weights.
            x: clean images (N, C, H, W) in [0, 1].
            adversarial: adversarial images of the inner attack.
            y: classes (N,), or (N, H, W) per pixel, int64.
        """

    def craft(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        """Craft adversarial images of a batch, without gradient; the victim is left unchanged.

        On a CPU the inner attack runs on an accelerated copy of the present weights, which costs
        less than one of its steps. On a GPU the copy would cost more than it saves.
        """
        fast = victim.accelerated() if x.device.type == "cpu" else nullcontext()
        with frozen_eval(victim), fast:
            return self.inner(VictimSurrogate(victim), x, y, seeds=seeds)

    def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute the outer loss on freshly crafted images."""
        return self.outer(victim, x, self.craft(victim, x, y, seeds=seeds), y)
