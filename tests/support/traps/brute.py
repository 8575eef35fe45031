"""The truth of a trap once more, from the deployed code alone: grids of pixels, linear programs."""

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor, nn

from medrobust.defense.core.base import Purifier
from tests.support.traps.trap import Trap


@torch.no_grad()
def by_grid(trap: Trap, row: int, *, points: int, together: int = 1) -> bool:
    """Return whether an image stays right when its pixels are tried one by one on a grid.

    This is exact for scores that are sums over pixels, or over groups of neighbours, up to the
    grid: the best value of one does not depend on the others.

    Args:
        trap: trap whose purifier and victim make such a score.
        row: place of the image.
        points: values per pixel, from one end of the ball to the other.
        together: neighbouring pixels that are tried jointly.
    """
    x, y = trap.images[row], int(trap.labels[row])
    low = (x - trap.eps).clamp(min=0).flatten().view(-1, together)
    high = (x + trap.eps).clamp(max=1).flatten().view(-1, together)
    way = torch.cartesian_prod(*[torch.linspace(0, 1, points)] * together).view(-1, together)
    values = low[:, None] + way * (high - low)[:, None]  # (groups, ways, together)
    tried = x.flatten().repeat(*values.shape[:2], 1)
    for group in range(len(values)):
        tried[group, :, group * together : (group + 1) * together] = values[group]
    leads = leads_of(trap, tried.view(-1, *x.shape), y).view(*values.shape[:2], -1)
    clean = leads_of(trap, x[None], y)[0]
    best = clean + (leads - clean).amax(1).sum(0)
    return bool(best.max() < 0)


def leads_of(trap: Trap, images: Tensor, label: int) -> Tensor:
    """Return by how much each other class leads the true one (N, K - 1), before any rounding."""
    if isinstance(trap.defense, Purifier):
        images = trap.defense.purify(images, seeds=torch.arange(len(images)))
    logits = trap.victim(images).double()
    leads = logits - logits[:, label : label + 1]
    return torch.cat([leads[:, :label], leads[:, label + 1 :]], dim=1)


def plane_of(network: nn.Module) -> tuple[np.ndarray, float]:
    """Return weights and bias of the single logit of a linear network."""
    layer = network[1]  # type: ignore[index]
    return layer.weight.detach().double().numpy()[0], float(layer.bias.detach())


def feasible(x: Tensor, eps: float, conditions: list[tuple[np.ndarray, float]]) -> bool:
    """Return whether an image of the ball makes weight . x + bias positive for all conditions."""
    flat = x.flatten().double().numpy()
    ends = np.stack([(flat - eps).clip(min=0), (flat + eps).clip(max=1)], axis=1)
    rows = np.array([[*-weight, 1.0] for weight, _ in conditions])
    found = linprog(
        [*np.zeros(len(flat)), -1.0],
        A_ub=rows,
        b_ub=[bias for _, bias in conditions],
        bounds=[*ends, (None, None)],
    )
    return bool(-found.fun > 0)
