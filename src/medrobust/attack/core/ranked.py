"""Classes by their rank on the clean image, the true one included."""

from torch import Tensor

from medrobust.attack.core.target import Target


class Ranked(Target):
    """The class of a rank in the clean logits, whichever it is.

    Behind a defense that answers otherwise than its victim, even the victim's own first class may
    be the way to another answer.

    Args:
        rank: 0 for the most likely class; the last one where there are fewer.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def __call__(self, logits: Tensor, y: Tensor, seeds: Tensor) -> Tensor:
        """Targets like `y`."""
        order = logits.argsort(dim=1, descending=True)
        return order[:, min(self.rank, logits.shape[1] - 1)]
