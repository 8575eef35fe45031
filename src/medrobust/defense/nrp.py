"""NRP: a purifier trained against a feature-space attack."""

import torch
from torch import Tensor, nn

from medrobust.defense.core.feature import Features
from medrobust.defense.core.learned import LearnedPurifier
from medrobust.defense.network.rrdn import RRDN
from medrobust.defense.network.steady import steady
from medrobust.number import fraction, whole
from medrobust.rng import normal


class NRP(LearnedPurifier):
    """Neural representation purifier (Naseer et al. 2020).

    It is trained without labels: `perturb` maximises the change of a fixed network's features of a
    clean image, and the purifier restores the image and its features. Deployed, it needs neither
    that network nor a victim.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        features: feature extractor of the training.
        maps: features of `RRDN`.
        blocks: see `RRDN`.
        growth: see `RRDN`.
        skip: see `RRDN`.
        eps: L∞ budget of the training attack, and bound of the `dynamic` noise.
        steps: gradient steps of the training attack.
        step: step size of the training attack.
        feature_weight: factor of the features' mean absolute distance.
        image_weight: factor of the images' L2 distance.
        critic_weight: factor of the critic's loss.
        critic_maps: features of `Discriminator`.
        critic_blocks: see `Discriminator`.
        patch_px: side of the random crops of training images; smaller images are kept whole.
        dynamic: add noise before purifying, as a randomized defense.
        noise: standard deviation of that noise.
    """

    loop = "medrobust.training.defense.nrp.NRPModule"

    untrained = ("dynamic", "noise")

    def __init__(
        self,
        name: str,
        checkpoint: str,
        seed: int = 0,
        *,
        features: Features,
        maps: int = 16,
        blocks: int = 2,
        growth: int = 8,
        skip: bool = True,
        eps: float | str = "16/255",
        steps: int = 10,
        step: float | str = "4/255",
        feature_weight: float = 1.0,
        image_weight: float = 1e-2,
        critic_weight: float = 5e-3,
        critic_maps: int = 16,
        critic_blocks: int = 3,
        patch_px: int = 128,
        dynamic: bool = False,
        noise: float | str = 0.05,
    ) -> None:
        super().__init__(name, checkpoint, seed)
        self.source = features
        self.maps = whole(maps, "defense.maps", low=1)
        self.blocks = whole(blocks, "defense.blocks", low=1)
        self.growth = whole(growth, "defense.growth", low=1)
        self.skip = skip
        self.eps = fraction(eps, "defense.eps", above=True)
        self.steps = whole(steps, "defense.steps", low=1)
        self.step = fraction(step, "defense.step", above=True)
        self.feature_weight = fraction(feature_weight, "defense.feature_weight", high=1e6)
        self.image_weight = fraction(image_weight, "defense.image_weight", high=1e6)
        self.critic_weight = fraction(critic_weight, "defense.critic_weight", high=1e6)
        self.critic_maps = whole(critic_maps, "defense.critic_maps", low=1)
        self.critic_blocks = whole(critic_blocks, "defense.critic_blocks", low=1)
        self.patch_px = whole(patch_px, "defense.patch_px", low=2**self.critic_blocks)
        self.noise = fraction(noise, "defense.noise", above=True)
        self.random = dynamic
        self.network: nn.Module = nn.Identity()

    def build(self, channels: int) -> None:
        """Build the purifier network."""
        self.network = RRDN(
            channels, features=self.maps, blocks=self.blocks, growth=self.growth, skip=self.skip
        ).to(memory_format=torch.channels_last)

    def restore(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Purify the image, or a noisy copy of it within `eps`."""
        if self.random:
            noise = self.noise * normal(seeds, x.shape[1:]).to(x.dtype)
            x = (x + noise.clamp(-self.eps, self.eps)).clamp(0, 1)
        return steady(self.network, x).clamp(0, 1)
