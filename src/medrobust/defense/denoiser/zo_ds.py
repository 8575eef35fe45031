"""The denoiser of denoised smoothing, trained by queries alone."""

from medrobust.defense.denoiser.ds import DS
from medrobust.defense.denoiser.estimator import Estimator


class ZODS(DS):
    """`DS` with a zeroth-order estimate of the gradient at the denoised image.

    This is the baseline of Zhang et al. 2022, "How to Robustify Black-Box ML Models?". The
    estimate's variance grows with the number of pixels.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        estimator: gradient estimator at the denoised image.
        sigma: see `DS`.
        gamma: see `DS`.
        warm_epochs: see `DS`.
        depth: see `DS`.
        features: see `DS`.
    """

    loop = "medrobust.training.defense.denoising.ZerothOrderModule"

    def __init__(
        self,
        name: str,
        checkpoint: str,
        seed: int = 0,
        *,
        estimator: Estimator,
        sigma: float | str = 0.25,
        gamma: float = 0.01,
        warm_epochs: int = 5,
        depth: int = 8,
        features: int = 32,
    ) -> None:
        super().__init__(
            name,
            checkpoint,
            seed,
            sigma=sigma,
            gamma=gamma,
            warm_epochs=warm_epochs,
            depth=depth,
            features=features,
        )
        self.estimator = estimator
