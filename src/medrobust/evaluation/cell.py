"""One cell of the benchmark, as objects."""

from dataclasses import dataclass
from typing import Any

from medrobust.attack.core.base import Attack
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.threat.surrogate import Surrogate


@dataclass(frozen=True)
class Cell:
    """A victim behind a defense, and an attack on what the threat shows of them.

    Attributes:
        victim: frozen, on the runner's device.
        defense: deployed, on the same device.
        surrogate: model that the attack differentiates or queries.
        attack: crafts on the surrogate.
        clean: images, labels and ids to attack.
        classes: number K of classes.
        seed: the run's seed.
        quantize: hand over 8-bit images.
        data: datamodule that a learning attack learns from.
        perturbation: also measure how rough the perturbations are and how steady their course.
        defender_draws: draws over which a randomized defense is judged, at least 1.
        operating_point: rule for the threshold of each class, see `choose_thresholds`; None to
            measure at none.
        validation: clean images to choose the thresholds on.
    """

    victim: Victim
    defense: Defense
    surrogate: Surrogate
    attack: Attack
    clean: ImageSet
    classes: int
    seed: int = 0
    quantize: bool = False
    data: Any = None
    perturbation: bool = False
    defender_draws: int = 1
    operating_point: str | float | None = None
    validation: ImageSet | None = None

    @property
    def draws(self) -> int:
        """Return the draws that are judged: 1 of a deterministic defense, which repeats itself."""
        return self.defender_draws if self.defense.random else 1
