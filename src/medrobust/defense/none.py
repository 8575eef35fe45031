"""No defense."""

from torch import Tensor

from medrobust.defense.core.base import Purifier


class NoDefense(Purifier):
    """The bare victim; also the denoiser `none` of a vote."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """The image itself."""
        return x
