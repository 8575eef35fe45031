"""Compare an attacker's gradient through a defense with finite differences of the deployed one.

A defense without a useful gradient is differentiated through a stand-in (BPDA). If the stand-in
points elsewhere than the deployed system's loss rises, the attack climbs the wrong hill.
"""

import math

import torch
from torch import Tensor

from medrobust.attack.core.base import Attack
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.loss import Loss
from medrobust.attack.criterion.by_task import by_task
from medrobust.attack.loss.by_task import ByTask
from medrobust.attack.loss.margin import Margin
from medrobust.configured import unsourced
from medrobust.defense.core.base import Smoother
from medrobust.fingerprint import digest_tensors
from medrobust.rng import fold_in, uniform
from medrobust.task import task_of
from medrobust.threat.defended import DefendedSurrogate
from medrobust.threat.deployed import DeployedSurrogate
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import Surrogate

IMAGES = 16
"""Largest number of images that are compared."""

DIRECTIONS = 64
"""Random directions per image, each of two forward passes."""

_AT_ONCE = 16
"""Directions per batch: always the same ones together, so that no batch size changes a digit."""

_RADIUS = 4 / 255
"""Largest change of a pixel, for attacks without a budget."""

_STREAM = 0x636F73
"""Keeps the directions apart from the attack's own random numbers."""

_KEPT = 64
"""Calls whose result is kept by `gradient_cosines_once`."""

_known: dict[tuple[object, ...], Tensor] = {}


def defended(surrogate: Surrogate) -> DefendedSurrogate | None:
    """Return the surrogate in full precision if it has a defense in it, else None."""
    while isinstance(surrogate, ReducedPrecision):
        surrogate = surrogate.surrogate
    return surrogate if isinstance(surrogate, DefendedSurrogate) else None


def follows_gradients(attack: Attack) -> bool:
    """Return whether an attack depends on the gradient of a defended surrogate."""
    return attack.needs_gradient or attack.uses_siblings


def gradient_cosines(
    surrogate: Surrogate, attack: Attack, x: Tensor, y: Tensor, seeds: Tensor
) -> Tensor:
    """Return the cosine between the surrogate's gradient and the deployed system's, per image.

    The latter is estimated by two-sided differences of the loss along m = `DIRECTIONS` random sign
    vectors, half the attack's budget to either side, clipped to [0, 1]; both gradients are scaled
    by how far each pixel may move. With m directions in d dimensions the estimate has an expected
    cosine of about sqrt(m / (m + d - 1)) with the exact gradient of a linear loss, and that is
    divided out: 1 is a perfect stand-in, and 0 an unrelated one, with a standard deviation of
    `deviation`.

    The loss is the margin (for boxes, the task's own loss), which does not saturate. A randomized
    defense draws anew for every direction, with the attacker's seeds, and answers both sides with
    the same draw. A vote is asked for one copy per direction instead of all its copies.

    Cost per image: 2 `DIRECTIONS` forward passes of the deployed system and one gradient of the
    surrogate.

    Args:
        surrogate: a `DefendedSurrogate`, in any precision.
        attack: gives budget and norm.
        x: clean images (N, C, H, W) in [0, 1].
        y: true labels.
        seeds: int64 (N,), the attacker's.

    Returns:
        float64 (N,); NaN where either gradient is zero.

    Raises:
        TypeError: the surrogate has no defense in it.
    """
    own = defended(surrogate)
    if own is None:
        raise TypeError(f"{type(surrogate).__name__} has no defense, expected a DefendedSurrogate")
    system: Surrogate
    if isinstance(own.defense, Smoother):
        system = DefendedSurrogate(own.victim, own.defense)
    else:
        system = DeployedSurrogate(own.victim, own.defense)
    loss: Loss = ByTask() if task_of(y) == "detection" else Margin(kappa=1e9)
    goal = Goal(loss, by_task(y), y)
    radius = _radius(attack, x)
    found = []
    for row in torch.arange(len(x), device=x.device).split(1):
        # One image at a time: in a batch, the derivative of a stand-in may round differently.
        one = goal.at(row)
        grad = surrogate.value_and_grad(x[row], one, seeds=seeds[row]).grad
        found.append(_cosine(grad[0], system, x[row][0], one, seeds[row], radius))
    return torch.stack(found)


def gradient_cosines_once(
    surrogate: Surrogate, attack: Attack, x: Tensor, y: Tensor, seeds: Tensor
) -> Tensor:
    """Return `gradient_cosines`, which attacks of one budget share, from the last calls if known.

    What code without source computes is never taken from an earlier call. Arguments and errors are
    those of `gradient_cosines`.
    """
    if not isinstance(y, Tensor) or unsourced(surrogate.computed_by):
        return gradient_cosines(surrogate, attack, x, y, seeds)
    given = digest_tensors({"x": x, "y": y, "seeds": seeds})
    key = (surrogate.identity, str(x.device), _radius(attack, x), DIRECTIONS, given)
    if key not in _known:
        _known[key] = gradient_cosines(surrogate, attack, x, y, seeds)
        while len(_known) > _KEPT:
            del _known[next(iter(_known))]
    return _known[key].clone()


def deviation(dimensions: int) -> float:
    """Return the standard deviation of the normalised cosine of an unrelated gradient."""
    return math.sqrt(1 / DIRECTIONS + 1 / dimensions)


def _radius(attack: Attack, x: Tensor) -> float:
    """Return the change of every pixel: half the budget, or of an L2 norm of half of it."""
    if attack.eps is None:
        return _RADIUS
    share = 1.0 if attack.norm == "linf" else x[0].numel() ** 0.5
    return attack.eps / (2 * share)


def _cosine(
    grad: Tensor, system: Surrogate, x: Tensor, goal: Goal, seed: Tensor, radius: float
) -> Tensor:
    """Return the normalised cosine of one image (C, H, W) as a float64 scalar."""
    # The share of its way that a pixel can go: 1, or less next to black and white.
    reach = ((x + radius).clamp(max=1) - (x - radius).clamp(min=0)) / (2 * radius)
    mine = (grad * reach).double().flatten()
    theirs = torch.zeros_like(mine)
    seed = fold_in(seed, _STREAM)
    for first in range(0, DIRECTIONS, _AT_ONCE):
        number = torch.arange(first, min(first + _AT_ONCE, DIRECTIONS), device=x.device)
        word = fold_in(seed, number)
        way = uniform(fold_in(word, 0), x.shape).lt(0.5).to(x.dtype) * 2 - 1
        both = torch.cat([x + radius * way, x - radius * way]).clamp(0, 1)
        every = goal.at(torch.zeros(len(both), dtype=torch.int64, device=x.device))
        value, _ = system.value(both, every, seeds=fold_in(word, 1).repeat(2))
        ahead, behind = value.double().chunk(2)
        theirs += (ahead - behind) @ way.double().flatten(1)
    scale = mine.norm() * theirs.norm()
    expected = math.sqrt(DIRECTIONS / (DIRECTIONS + mine.numel() - 1))
    return torch.where(scale > 0, mine @ theirs / scale, torch.nan) / expected
