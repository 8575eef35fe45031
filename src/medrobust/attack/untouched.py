"""Clean images in the place of a stress test's: what its layers are before anyone attacks."""

from medrobust.attack.core.loss import Loss
from medrobust.attack.none import NoAttack


class Untouched(NoAttack):
    """Returns the clean images, and names the layers to measure in them.

    Args:
        loss: of the attack that it is compared with.
        eps: null; it is here so that every attack has the key.
    """

    def __init__(self, loss: Loss, eps: None = None) -> None:
        super().__init__(eps)
        self.loss = loss
