"""Records, for some images of a cell, the attack's loss and success at each of its steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medrobust.attack.core.base import Attack
from medrobust.evaluation.adversarial import Craft
from medrobust.evaluation.batches.batches import Batch
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.stream import attacker_seeds
from medrobust.number import whole
from medrobust.result.arrays import ArraysError
from medrobust.result.convergence import Convergence
from medrobust.threat.aim import Aim
from medrobust.threat.surrogate import Surrogate


@dataclass(frozen=True)
class ConvergenceRequest:
    """The `convergence` node of a config.

    Attributes:
        images: how many, spread evenly over the evaluated set.
    """

    images: int

    @classmethod
    def parse(cls, node: Mapping[str, Any] | None) -> "ConvergenceRequest | None":
        """Read the plain data of a `convergence` node; None asks for nothing.

        Raises:
            ValueError: no mapping, an unknown or missing key, or a value out of range.
        """
        if node is None:
            return None
        if not isinstance(node, Mapping) or set(node) != {"images"}:
            raise ValueError(f"convergence={node!r}; expected null or {{images: 4}}")
        return cls(whole(node["images"], "convergence.images", low=1))

    def met_by(self, path: Path) -> bool:
        """Return whether a sound file holds what is requested."""
        try:
            found = Convergence.read(path)
        except ArraysError:
            return False
        return found is not None and found.wanted == self.images

    def record(self, cell: Cell, device: torch.device) -> Convergence:
        """Attack some images once more, each alone, as they were attacked, and keep the losses.

        Args:
            cell: surrogate on `device`, attack, clean images, data.
            device: where to compute.
        """
        surrogate, attack, clean = cell.surrogate, cell.attack, cell.clean
        places = torch.linspace(0, len(clean) - 1, min(self.images, len(clean))).long().tolist()
        ids = tuple(clean.ids[place] for place in places)
        if attack.learns:
            attack.fit(surrogate, cell.data)
        craft = Craft(surrogate, attack, cell.quantize)
        seeds = attacker_seeds(cell.seed, ids).to(device)
        # An ensemble fools other views on its way, which is no success yet.
        judge = surrogate.siblings.deployed if attack.uses_siblings else surrogate
        seen = _Seen(attack, judge)
        counts = []
        for number, place in enumerate(places):
            before = len(seen.loss)
            one = slice(place, place + 1)
            seen.start(clean.images[one].to(device))
            with surrogate.watched(seen):
                craft(
                    Batch(
                        clean.images[one].to(device),
                        clean.labels[one].to(device),
                        seeds[number : number + 1],
                        clean.ids[one],
                        first=place,
                        number=number,
                    )
                )
            counts.append(len(seen.loss) - before)
        return Convergence(
            ids=ids,
            wanted=self.images,
            counts=np.array(counts, np.int64),
            asked=np.array(seen.asked, np.int64),
            loss=np.array(seen.loss, np.float64),
            reached=np.array(seen.reached, np.bool_),
            stage=np.array(seen.stage, np.int64),
            stages=tuple(seen.stages),
        )


class _Seen:
    """Notes each event of an attack on one image.

    Searches from afar (RayS, minimum norms) look beyond the budget, where nothing is a success.

    Args:
        attack: has the budget.
        judge: view whose answer decides; another object of its kind is the same view.
    """

    def __init__(self, attack: Attack, judge: Surrogate) -> None:
        self.attack, self.judge = attack, type(judge)
        self.asked: list[int] = []
        self.loss: list[float] = []
        self.reached: list[bool] = []
        self.stage: list[int] = []
        self.stages: dict[str, int] = {}

    def start(self, clean: Tensor) -> None:
        """Begin with another image (1, C, H, W)."""
        self.clean, self.shown = clean, 0

    def __call__(
        self, view: Surrogate, x: Tensor, goal: Aim, loss: Tensor, reached: Tensor
    ) -> None:
        if len(loss) == 0:
            return
        self.shown += len(loss)
        name = f"{type(view).__name__}, {type(goal.loss).__name__}"
        self.asked.append(self.shown)
        self.loss.append(float(loss.double().max()))
        fooled = type(view) is self.judge and bool(
            (reached & self.attack.in_budget(self.clean, x)).any()
        )
        self.reached.append(fooled)
        self.stage.append(self.stages.setdefault(name, len(self.stages)))
