"""Training of NRP: a purifier against a feature-space attack, and a critic."""

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.data.core.base import Sample
from medrobust.defense.core.ssp import perturb
from medrobust.defense.network.discriminator import Discriminator
from medrobust.defense.nrp import NRP
from medrobust.rng import uniform
from medrobust.training.defense.crop import random_crop
from medrobust.training.defense.train import DefenseModule, TrainingSetup


class NRPModule(DefenseModule):
    """Trains purifier and critic jointly; selects the epoch of the least feature distance.

    Both losses are summed, since neither has a gradient for the other's weights.

    Args:
        defense: purifier whose networks are built.
        setup: setup of the training.

    Raises:
        ValueError: the images are too small for the critic.
    """

    defense: NRP
    scored = "feature_share"

    def __init__(self, defense: NRP, setup: TrainingSetup) -> None:
        super().__init__(defense, setup)
        if setup.data.size < 2**defense.critic_blocks:
            raise ValueError(
                f"defense.critic_blocks={defense.critic_blocks} halvings are too many for "
                f"images of {setup.data.size} pixels; lower it"
            )
        self.features = defense.source.extractor(setup.data)
        self.critic = Discriminator(
            setup.data.channels, features=defense.critic_maps, blocks=defense.critic_blocks
        )

    def trained(self) -> Iterable[nn.Parameter]:
        """Return the weights of purifier and critic."""
        return chain(self.defense.parameters(), self.critic.parameters())

    def loss(self, batch: Sample) -> Tensor:
        """Compute the purifier's three terms plus the critic's loss."""
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
        """Return the remaining share of the feature distance, and the error on clean images."""
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
        """Compute the purifier's adversarial loss against the critic."""
        self.critic.requires_grad_(False)
        loss = relativistic(self.critic(purified), self.critic(clean))
        self.critic.requires_grad_(True)
        return loss


def relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """Compute -log sigmoid(real - fake), averaged over pairs (Jolicoeur-Martineau 2019)."""
    return F.softplus(fake - real).mean()
