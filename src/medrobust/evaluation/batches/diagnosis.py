"""Which images of a batch are to blame, in the words of a failed cell."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from medrobust.defense.core.base import Defense
from medrobust.evaluation.batches.batches import out_of_memory
from medrobust.model.core.victim import Victim
from medrobust.threat.aim import Aim
from medrobust.threat.surrogate import Gradient, Surrogate


def check_finite(values: Tensor, what: str, batch: int, ids: Sequence[str]) -> None:
    """Refuse numbers that are none.

    Args:
        values: (N,) or (N, ...).
        what: their name.
        batch: its number, from 0.
        ids: N sample ids.

    Raises:
        FloatingPointError: NaN or infinity; names the batch and the images.
    """
    wrong = (~values.isfinite()).reshape(len(values), -1).any(dim=1)
    if wrong.any():
        named = [ids[place] for place in wrong.nonzero().flatten().tolist()]
        raise FloatingPointError(
            f"{what} are NaN or infinite for {len(named)} of {len(ids)} images of batch {batch}: "
            + ", ".join(named)
        )


@contextmanager
def naming(
    defense: Defense, victim: Victim, x: Tensor, seeds: Tensor, ids: Sequence[str]
) -> Iterator[None]:
    """When the defense raises on a batch, try its images one by one and name those that raise.

    Args:
        defense: that the block calls on `x`.
        victim: that it defends.
        x: (N, C, H, W).
        seeds: int64 (N,).
        ids: N sample ids.
    """
    try:
        yield
    except Exception as error:
        if out_of_memory(error):  # no image's fault
            raise
        alone = [
            name
            for place, name in enumerate(ids)
            if _raises(defense, victim, x[place : place + 1], seeds[place : place + 1])
        ]
        which = "images" if alone else "these images together, none alone"
        error.add_note(f"{type(defense).__name__} raised for {which}: {', '.join(alone or ids)}")
        raise


@contextmanager
def watching(surrogate: Surrogate, batch: int, ids: Sequence[str]) -> Iterator[None]:
    """Refuse a batch in which any gradient held a NaN.

    The sign of NaN is 0 in torch: an attack by signs would stand still and look merely weak.

    Args:
        surrogate: whose gradients are looked at inside the block, without waiting for the device.
        batch: its number, from 0.
        ids: its sample ids.

    Raises:
        FloatingPointError: after the block; names the batch and its images.
    """
    found: list[Tensor] = []
    look, looks = surrogate.value_and_grad, surrogate.values_and_grads

    def watched(x: Tensor, goal: Aim, *, seeds: Tensor) -> Gradient:
        seen = look(x, goal, seeds=seeds)
        found.append(seen.grad.isnan().any())
        return seen

    def all_watched(x: Tensor, goals: Sequence[Aim], *, seeds: Tensor) -> list[Gradient]:
        several = looks(x, goals, seeds=seeds)
        found.append(torch.stack([seen.grad.isnan().any() for seen in several]).any())
        return several

    surrogate.value_and_grad = watched  # type: ignore[method-assign]
    surrogate.values_and_grads = all_watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        del surrogate.value_and_grad, surrogate.values_and_grads
    if found and torch.stack(found).any():
        steps = torch.stack(found).nonzero().flatten().tolist()
        raise FloatingPointError(
            f"the surrogate's gradients held NaN at looks {steps[:5]} of batch {batch}, "
            f"which holds {', '.join(ids)}"
        )


def _raises(defense: Defense, victim: Victim, x: Tensor, seeds: Tensor) -> bool:
    try:
        defense(x, victim, seeds=seeds)
    except Exception:  # whatever it is: the first one is on its way up
        return True
    return False
