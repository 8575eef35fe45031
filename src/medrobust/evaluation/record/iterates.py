"""Records, for some images of a cell, the perturbations of an iterated attack on its way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medrobust.attack.core.base import Attack
from medrobust.attack.core.iterated import Iterated
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.stream import attacker_seeds
from medrobust.number import whole
from medrobust.result.arrays import ArraysError
from medrobust.result.iterates import Iterates


@dataclass(frozen=True)
class IteratesRequest:
    """The `iterates` node of a config.

    Attributes:
        at: iterations whose perturbations are recorded, counted from 1, ascending.
        images: how many, spread evenly over the evaluated set.
    """

    at: tuple[int, ...]
    images: int

    @classmethod
    def parse(cls, node: Mapping[str, Any] | None) -> "IteratesRequest | None":
        """Read the plain data of an `iterates` node; None asks for nothing.

        Raises:
            ValueError: no mapping, an unknown or missing key, or a value out of range.
        """
        if node is None:
            return None
        if not isinstance(node, Mapping) or set(node) != {"at", "images"}:
            raise ValueError(f"iterates={node!r}; expected null or {{at: [1, 4, 9], images: 1}}")
        at = node["at"]
        if isinstance(at, str) or not isinstance(at, Sequence) or not at:
            raise ValueError(f"iterates.at={at!r}; expected a list of iterations, such as [1, 4]")
        numbers = tuple(sorted({whole(number, "iterates.at", low=1) for number in at}))
        return cls(numbers, whole(node["images"], "iterates.images", low=1))

    def check(self, attack: Attack) -> None:
        """Refuse what could not be recorded, before hours of work.

        Raises:
            ValueError: the attack is not iterated, or makes fewer steps.
        """
        if not isinstance(attack, Iterated):
            raise ValueError(
                f"iterates are recorded of iterated gradient attacks, not of "
                f"{type(attack).__name__}; set iterates=null, or attack=bim, pgd, smia, …"
            )
        if self.at[-1] > attack.steps:
            raise ValueError(
                f"iterates.at={list(self.at)}: the attack makes {attack.steps} steps; set "
                "attack.steps, or smaller numbers"
            )

    def met_by(self, path: Path) -> bool:
        """Return whether a sound file holds what is requested."""
        try:
            found = Iterates.read(path)
        except ArraysError:
            return False
        return found is not None and (found.at, found.wanted) == (self.at, self.images)

    def record(self, cell: Cell, device: torch.device) -> Iterates:
        """Attack some images once more, as they were attacked, and keep the perturbations.

        Args:
            cell: surrogate on `device`, attack (its first restart is watched), clean images, data.
            device: where to compute.
        """
        surrogate, attack, clean = cell.surrogate, cell.attack, cell.clean
        self.check(attack)
        assert isinstance(attack, Iterated)
        places = torch.linspace(0, len(clean) - 1, min(self.images, len(clean))).long()
        ids = tuple(clean.ids[place] for place in places.tolist())
        x = clean.images[places].to(device)
        if attack.learns:
            attack.fit(surrogate, cell.data)
        seen = _Seen(x, self.at)
        with attack.watched(seen):
            seeds = attacker_seeds(cell.seed, ids).to(device)
            attack(surrogate, x, clean.labels[places].to(device), seeds=seeds)
        kept = torch.stack([seen.kept.get(number, seen.now) for number in self.at])
        return Iterates(
            ids=ids,
            wanted=self.images,
            at=self.at,
            clean=x.float().permute(0, 2, 3, 1).cpu().numpy(),
            perturbations=kept.float().permute(0, 1, 3, 4, 2).cpu().numpy(),
            eps=attack.eps,
        )


class _Seen:
    """Keeps the perturbations after some iterations of the first restart.

    An image that left the batch stays where it was.
    """

    def __init__(self, x: Tensor, at: Sequence[int]) -> None:
        self.x, self.at = x, at
        self.now = torch.zeros_like(x)
        self.kept: dict[int, Tensor] = {}
        self._restarts = 0

    def __call__(self, rows: Tensor, step: int, before: Tensor, after: Tensor) -> None:
        self._restarts += step == 0
        if self._restarts > 1:
            return
        self.now[rows] = (after - self.x[rows].to(after.dtype)).to(self.x.dtype)
        if step + 1 in self.at:
            self.kept[step + 1] = self.now.clone()
