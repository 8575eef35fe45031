"""Denoiser and autoencoder, trained by queries at a low-dimensional code."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.defense.denoiser.estimator import Estimator
from medrobust.defense.denoiser.zo_ds import ZODS
from medrobust.defense.network.autoencoder import Autoencoder
from medrobust.defense.network.steady import steady
from medrobust.number import whole


class ZOAEDS(ZODS):
    """ZO-AE-DS (Zhang et al. 2022): an autoencoder between denoiser and victim.

    The gradient is estimated at the code, whose dimension is a small part of the image's, and
    backpropagated through encoder and denoiser. The autoencoder learns to reconstruct clean images
    in the warm epochs; then its decoder is frozen and part of the black box, while encoder and
    denoiser learn. Deployed, the image passes all three.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        estimator: gradient estimator at the code.
        levels: number of halvings of the side, from image to code.
        code_maps: number of maps of the code per image channel.
        encoder_features: number of maps of the autoencoder's first level.
        sigma: see `DS`.
        gamma: see `DS`.
        warm_epochs: see `DS`; at least 1.
        depth: see `DS`.
        features: see `DS`.
    """

    def __init__(
        self,
        name: str,
        checkpoint: str,
        seed: int = 0,
        *,
        estimator: Estimator,
        levels: int = 3,
        code_maps: int = 4,
        encoder_features: int = 16,
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
            estimator=estimator,
            sigma=sigma,
            gamma=gamma,
            warm_epochs=warm_epochs,
            depth=depth,
            features=features,
        )
        self.levels = whole(levels, "defense.denoiser.levels", low=1, high=8)
        self.code_maps = whole(code_maps, "defense.denoiser.code_maps", low=1)
        self.encoder_features = whole(encoder_features, "defense.denoiser.encoder_features", low=1)
        if self.code_maps >= 4**self.levels:
            raise ValueError(
                f"defense.denoiser.code_maps={code_maps} with levels={levels} make a code of "
                f"{self.code_maps / 4**self.levels:g} numbers for each of the image, expected "
                f"fewer than 1; lower code_maps below {4**self.levels}, or raise levels"
            )
        if self.warm_epochs == 0:
            raise ValueError(
                "defense.denoiser.warm_epochs=0 leaves the decoder untrained; expected at least 1"
            )
        self.encoder: nn.Module = nn.Identity()
        self.decoder: nn.Module = nn.Identity()

    def build(self, channels: int) -> None:
        """Build the denoiser and the autoencoder."""
        super().build(channels)
        maps = self.code_maps * channels
        network = Autoencoder(
            channels, levels=self.levels, maps=maps, features=self.encoder_features
        )
        network = network.to(memory_format=torch.channels_last)
        self.encoder, self.decoder = network.encoder, network.decoder

    def denoise(self, x: Tensor) -> Tensor:
        """Denoise images (N, C, H, W) in [0, 1], unclamped.

        Raises:
            ValueError: a side is not divisible by 2^levels.
        """
        step, (height, width) = 2**self.levels, x.shape[2:]
        if height % step or width % step:
            near = max(step, round(max(height, width) / step) * step)
            raise ValueError(
                f"an autoencoder of {self.levels} levels got images of {height} × {width} "
                f"pixels, expected sides divisible by {step}; set data.size={near} or lower "
                f"defense.denoiser.levels"
            )
        return super().denoise(x)

    def encode(self, denoised: Tensor) -> Tensor:
        """Map denoised images to codes (N, code_maps · C, H / 2^levels, W / 2^levels)."""
        return self.encoder(denoised) if self.training else steady(self.encoder, denoised)

    def decode(self, code: Tensor) -> Tensor:
        """Map codes to images (N, C, H, W) in [0, 1]."""
        return self.decoder(code) if self.training else steady(self.decoder, code)

    def warm_loss(self, noisy: Tensor, x: Tensor) -> Tensor:
        """Compute the denoising loss plus the reconstruction loss of clean images."""
        return super().warm_loss(noisy, x) + F.mse_loss(self.decode(self.encode(x)), x)
