"""The denoiser of denoised smoothing, trained with the victim's gradients."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.defense.core.checkpoint import DefenseMeta
from medrobust.defense.core.learned import LearnedPurifier
from medrobust.defense.network.dncnn import DnCNN
from medrobust.defense.network.steady import steady
from medrobust.number import fraction, whole
from medrobust.result.flag import Flag, flag


class DS(LearnedPurifier):
    """A denoiser that preserves the predictions of one victim (Salman et al. 2020).

    It minimises Eq. 1 of the poster: the squared error of the denoised image plus gamma times the
    cross-entropy between the victim's logits on it and its class on the clean image. The victim is
    a white box in training. In `RandomizedSmoothing` it is denoised smoothing; alone it is a
    purifier of one pass.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        sigma: standard deviation of the training noise, in [0, 1] units.
        gamma: weight of the stability loss; the denoising loss is a mean over pixels.
        warm_epochs: number of first epochs without the stability loss.
        depth: number of convolutions of `DnCNN`.
        features: number of maps of `DnCNN`.
    """

    loop = "medrobust.training.defense.denoising.FirstOrderModule"

    needs_victim = True

    def __init__(
        self,
        name: str,
        checkpoint: str,
        seed: int = 0,
        *,
        sigma: float | str = 0.25,
        gamma: float = 0.01,
        warm_epochs: int = 5,
        depth: int = 8,
        features: int = 32,
    ) -> None:
        super().__init__(name, checkpoint, seed)
        self.sigma = fraction(sigma, "defense.denoiser.sigma", high=10, above=True)
        self.gamma = fraction(gamma, "defense.denoiser.gamma", high=1e6, above=True)
        self.warm_epochs = whole(warm_epochs, "defense.denoiser.warm_epochs")
        self.depth = whole(depth, "defense.denoiser.depth", low=3)
        self.features = whole(features, "defense.denoiser.features", low=1)
        self.denoiser: nn.Module = nn.Identity()

    def build(self, channels: int) -> None:
        """Build the denoiser."""
        network = DnCNN(channels, features=self.features, depth=self.depth)
        self.denoiser = network.to(memory_format=torch.channels_last)

    def remarks(self, meta: DefenseMeta) -> tuple[Flag, ...]:
        """Flag weights of the warm start, which the victim had no part in."""
        if meta.best_epoch >= self.warm_epochs:
            return ()
        return (
            flag("warm_start", name=self.name, epoch=meta.best_epoch + 1, epochs=self.warm_epochs),
        )

    def denoise(self, x: Tensor) -> Tensor:
        """Denoise images (N, C, H, W) in [0, 1], unclamped."""
        return self.denoiser(x) if self.training else steady(self.denoiser, x)

    def encode(self, denoised: Tensor) -> Tensor:
        """Map denoised images to the argument of the stability loss; here the identity."""
        return denoised

    def decode(self, code: Tensor) -> Tensor:
        """Map the output of `encode` to images (N, C, H, W) in [0, 1]."""
        return code.clamp(0, 1)

    def warm_loss(self, noisy: Tensor, x: Tensor) -> Tensor:
        """Compute the loss of the warm start, the denoising loss."""
        return F.mse_loss(self.denoise(noisy), x)

    def restore(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the denoised image."""
        return self.decode(self.encode(self.denoise(x)))
