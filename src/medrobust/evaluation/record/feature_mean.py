"""The stress test's measure: how far an attack moves the mean activation of a layer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medrobust.attack.loss.core.taps import penultimate
from medrobust.attack.loss.stress import Stress
from medrobust.data.core.image_set import ImageSet
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.stream import defender_seeds
from medrobust.threat.surrogate import VictimSurrogate


@torch.no_grad()
def feature_means(loss: Stress, cell: Cell, attacked: ImageSet, runner: Runner) -> dict[str, float]:
    """Return mean activations of the loss's layers (Medical Aegis, Table 1).

    `feature_mean` is of the attacked images behind the defense, `feature_mean_clean` of the clean
    images on the bare victim; `feature_mean_share` is the first in units of the second, and
    `feature_mean_change` that minus one. Both are left out where the second is zero. Of several
    layers the means add up, as in the loss.

    Args:
        loss: its layers; those that it leaves open are the one that feeds the classifier.
        cell: victim, defense, clean images and seed; of a defense that queries the victim more
            than once, the last query counts.
        attacked: the clean images, attacked.
        runner: device and batch size.
    """
    victim, clean, device = cell.victim, cell.clean, runner.device
    seeds = defender_seeds(cell.seed, clean.ids).to(device)
    first = clean.images[:1].to(device)
    taps = loss.names or penultimate(VictimSurrogate(victim), first, seeds[:1])
    before: list[Tensor] = []
    after: list[Tensor] = []
    for start in range(0, len(clean), runner.batch_size):
        part = slice(start, start + runner.batch_size)
        before.append(_means([*victim.features(clean.images[part].to(device), taps)[1].values()]))
        x = attacked.images[part].to(device)
        with victim.tapped(taps) as caught:
            cell.defense(x, victim, seeds=seeds[part])
        after.append(_means([caught[tap] for tap in taps]))
    mean, plain = (torch.cat(parts).double().mean().item() for parts in (after, before))
    found = {"feature_mean": mean, "feature_mean_clean": plain}
    if plain != 0:
        found |= {"feature_mean_share": mean / plain, "feature_mean_change": mean / plain - 1}
    return found


def _means(features: Sequence[Tensor]) -> Tensor:
    """Per image (N,), summed over layers."""
    return torch.stack([seen.double().flatten(1).mean(1) for seen in features]).sum(0)
