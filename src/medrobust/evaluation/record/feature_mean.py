"""The stress test's measure: how far an attack moves the mean activation of a layer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medrobust.attack.loss.core.taps import penultimate
from medrobust.attack.loss.stress import Stress
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.evaluation.stream import defender_seeds
from medrobust.model.core.victim import Victim
from medrobust.threat.surrogate import VictimSurrogate


@torch.no_grad()
def feature_means(
    loss: Stress,
    victim: Victim,
    defense: Defense,
    clean: ImageSet,
    attacked: ImageSet,
    *,
    seed: int,
    batch_size: int,
    device: torch.device,
) -> dict[str, float]:
    """Mean activation of the loss's layers (Medical Aegis, Table 1).

    `feature_mean` is of the attacked images behind the defense, `feature_mean_clean` of the clean
    images on the bare victim; `feature_mean_share` is the first in units of the second, and
    `feature_mean_change` that minus one. Both are left out where the second is zero. Of several
    layers the means add up, as in the loss.

    Args:
        loss: its layers; those that it leaves open are the one that feeds the classifier.
        victim: frozen, on `device`.
        defense: deployed; of one that asks the victim more than once, the last look counts.
        clean: images.
        attacked: the same, attacked.
        seed: the run's seed.
        batch_size: images at once; changes no result.
        device: where to compute.
    """
    seeds = defender_seeds(seed, clean.ids).to(device)
    first = clean.images[:1].to(device)
    taps = loss.names or penultimate(VictimSurrogate(victim), first, seeds[:1])
    before: list[Tensor] = []
    after: list[Tensor] = []
    for start in range(0, len(clean), batch_size):
        part = slice(start, start + batch_size)
        before.append(_means([*victim.features(clean.images[part].to(device), taps)[1].values()]))
        x = attacked.images[part].to(device)
        with victim.tapped(taps) as caught:
            defense(x, victim, seeds=seeds[part])
        after.append(_means([caught[tap] for tap in taps]))
    mean, plain = (torch.cat(parts).double().mean().item() for parts in (after, before))
    found = {"feature_mean": mean, "feature_mean_clean": plain}
    if plain != 0:
        found |= {"feature_mean_share": mean / plain, "feature_mean_change": mean / plain - 1}
    return found


def _means(features: Sequence[Tensor]) -> Tensor:
    """Per image (N,), summed over layers."""
    return torch.stack([seen.double().flatten(1).mean(1) for seen in features]).sum(0)
