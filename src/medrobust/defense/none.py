"""No defense."""

from torch import Tensor

from medrobust.defense.core.base import Purifier


class NoDefense(Purifier):
    """The undefended victim; also the denoiser `none` of a vote."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the image unchanged."""
        return x
