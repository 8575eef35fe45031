"""NRP: a purifier that learns to undo a feature-distance attack."""

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.data.base import Sample
from medrobust.defense.feature import Features
from medrobust.defense.learned import LearnedPurifier
from medrobust.defense.network.discriminator import Discriminator
from medrobust.defense.network.rrdn import RRDN
from medrobust.defense.network.steady import steady
from medrobust.defense.ssp import perturb
from medrobust.number import fraction, whole
from medrobust.rng import normal, uniform
from medrobust.training.crop import random_crop
from medrobust.training.defense import DefenseModule, TrainingSetup


class NRP(LearnedPurifier):
    """Neural representation purifier (Naseer et al. 2020).

    Trained without labels: a fixed network's features of a clean image are driven away from their
    place by `perturb`, and the purifier brings the image, and with it the features, back.
    Deployed, it needs neither that network nor a victim.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        features: where the features come from, in training.
        maps: features of `RRDN`.
        blocks: see `RRDN`.
        growth: see `RRDN`.
        skip: see `RRDN`.
        eps: L∞ budget of the training's attack, and the most that `dynamic` noise changes.
        steps: of the training's attack.
        step: length of its steps.
        feature_weight: factor of the features' mean absolute distance.
        image_weight: factor of the images' L2 distance.
        critic_weight: factor of the critic's loss.
        critic_maps: features of `Discriminator`.
        critic_blocks: see `Discriminator`.
        patch_px: side of the random crops of training images; smaller images are taken whole.
        dynamic: add noise before purifying, so that an attacker does not know the input.
        noise: its standard deviation.
    """

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
        """The purifier network."""
        self.network = RRDN(
            channels, features=self.maps, blocks=self.blocks, growth=self.growth, skip=self.skip
        ).to(memory_format=torch.channels_last)

    def training_module(self, setup: TrainingSetup) -> DefenseModule:
        """Trains it against the attack and a critic."""
        return NRPModule(self, setup)

    def restore(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """The network's answer to the image, or to a noisy copy of it within `eps`."""
        if self.random:
            noise = self.noise * normal(seeds, x.shape[1:]).to(x.dtype)
            x = (x + noise.clamp(-self.eps, self.eps)).clamp(0, 1)
        return steady(self.network, x).clamp(0, 1)


class NRPModule(DefenseModule):
    """Purifier and critic, side by side; the epoch that leaves the least feature distance is kept.

    Both losses are one sum: neither has a gradient for the other's weights.

    Args:
        defense: the purifier.
        setup: what it is trained with.

    Raises:
        ValueError: images too small for the critic.
    """

    defense: NRP
    scored = "feature_share"

    def __init__(self, defense: NRP, setup: TrainingSetup) -> None:
        super().__init__(defense, setup)
        if setup.data.size < 2**defense.critic_blocks:
            raise ValueError(
                f"defense.critic_blocks={defense.critic_blocks} halves images of "
                f"{setup.data.size} pixels away; lower it"
            )
        self.features = defense.source.extractor(setup.data)
        self.critic = Discriminator(
            setup.data.channels, features=defense.critic_maps, blocks=defense.critic_blocks
        )

    def trained(self) -> Iterable[nn.Parameter]:
        """Weights of purifier and critic."""
        return chain(self.defense.parameters(), self.critic.parameters())

    def loss(self, batch: Sample) -> Tensor:
        """The purifier's three terms, and the critic's own."""
        clean = random_crop(batch.image, self.defense.patch_px)
        purified = self.defense.network(self._attack(clean, 2 * torch.rand_like(clean) - 1))
        with torch.no_grad():
            goal = self.features(clean)
        distance = (self.features(purified) - goal).abs().mean()
        error = (purified - clean).flatten(1).norm(dim=1).mean()
        return (
            self.defense.feature_weight * distance
            + self.defense.image_weight * error
            + self.defense.critic_weight * self._fooled(clean, purified)
            + relativistic(self.critic(clean), self.critic(purified.detach()))
        )

    def measure(self, batch: Sample) -> dict[str, Tensor]:
        """Share of the feature distance that is left; squared error of purified clean images."""
        clean = batch.image
        start = 2 * uniform(self.seeds(batch), clean.shape[1:]).to(clean.dtype) - 1
        attacked = self._attack(clean, start)
        goal = self.features(clean)
        after, before = (
            (self.features(x) - goal).abs().mean()
            for x in (self.defense.network(attacked).clamp(0, 1), attacked)
        )
        kept = F.mse_loss(self.defense.network(clean).clamp(0, 1), clean)
        return {"feature_share": after / before.clamp(min=1e-12), "mse_clean": kept}

    def _attack(self, clean: Tensor, start: Tensor) -> Tensor:
        how = self.defense
        return perturb(self.features, clean, start, eps=how.eps, step=how.step, steps=how.steps)

    def _fooled(self, clean: Tensor, purified: Tensor) -> Tensor:
        """The purifier's loss: purified images should look more real than clean ones."""
        self.critic.requires_grad_(False)
        loss = relativistic(self.critic(purified), self.critic(clean))
        self.critic.requires_grad_(True)
        return loss


def relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """-log sigmoid(real - fake), mean of pairs (Jolicoeur-Martineau 2019)."""
    return F.softplus(fake - real).mean()
