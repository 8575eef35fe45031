"""Name the images of a batch that cause an error."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from medrobust.defense.core.base import Defense
from medrobust.evaluation.batches.batches import out_of_memory
from medrobust.model.core.victim import Victim


def check_finite(values: Tensor, what: str, batch: int, ids: Sequence[str]) -> None:
    """Raise if any value is NaN or infinite.

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
def name_culprits(
    defense: Defense, victim: Victim, x: Tensor, seeds: Tensor, ids: Sequence[str]
) -> Iterator[None]:
    """Name the images that a defense raises for, by trying those of the batch one by one.

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


def check_gradients(found: Sequence[Tensor], batch: int, ids: Sequence[str]) -> None:
    """Raise if any gradient of a batch held NaN.

    Args:
        found: one bool scalar per gradient, see `Surrogate.nan_gradients`.
        batch: its number, from 0.
        ids: its sample ids.

    Raises:
        FloatingPointError: names the gradients by number, the batch and its images.
    """
    if found and torch.stack(list(found)).any():
        steps = torch.stack(list(found)).nonzero().flatten().tolist()
        raise FloatingPointError(
            f"the surrogate's gradients held NaN at gradient steps {steps[:5]} of batch {batch}, "
            f"which holds {', '.join(ids)}"
        )


def _raises(defense: Defense, victim: Victim, x: Tensor, seeds: Tensor) -> bool:
    try:
        defense(x, victim, seeds=seeds)
    except Exception:  # whatever it is: the first one is on its way up
        return True
    return False
