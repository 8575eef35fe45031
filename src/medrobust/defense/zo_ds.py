"""The denoiser of denoised smoothing, trained by asking the victim alone."""

from medrobust.defense.ds import DS
from medrobust.defense.estimator import Estimator
from medrobust.training.defense import DefenseModule, TrainingSetup
from medrobust.training.denoising import ZerothOrderModule


class ZODS(DS):
    """As `DS`, with a zeroth-order estimate of the gradient at the denoised image.

    Zhang et al. 2022, "How to Robustify Black-Box ML Models?": their baseline. The estimate's
    variance grows with the number of pixels.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        estimator: asks the victim.
        sigma: see `DS`, for this and what follows.
        gamma: …
        warm_epochs: …
        depth: …
        features: …
    """

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

    def training_module(self, setup: TrainingSetup) -> DefenseModule:
        """Trains it behind a black box."""
        return ZerothOrderModule(self, setup)
