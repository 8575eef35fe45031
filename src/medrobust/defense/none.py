"""No defense."""

from torch import Tensor

from medrobust.defense.core.base import Derivative, Purifier


class NoDefense(Purifier):
    """The undefended victim; also the denoiser `none` of a vote."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the image unchanged."""
        return x

    def derivatives(self) -> dict[str, Derivative]:
        """Return `exact`, which is the identity."""
        return {"exact": self.purify}
