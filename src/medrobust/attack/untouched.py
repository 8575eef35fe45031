"""Clean images in the place of a stress test's: what its layers are before anyone attacks."""

from medrobust.attack.none import NoAttack
from medrobust.attack.objective.base import Objective


class Untouched(NoAttack):
    """Returns the clean images, and names the layers to measure in them.

    Args:
        objective: of the attack that it stands beside.
        eps: null; it is here so that every attack has the key.
    """

    def __init__(self, objective: Objective, eps: None = None) -> None:
        super().__init__(eps)
        self.objective = objective
