"""Record activation maps of the bare and the defended network for some images of a cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medrobust.defense.core.base import Defense
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import Result
from medrobust.evaluation.stream import defender_seeds
from medrobust.model.core.victim import Victim
from medrobust.number import whole
from medrobust.result.arrays import ArraysError
from medrobust.result.maps import Maps, Side


@dataclass(frozen=True)
class MapsRequest:
    """The `maps` node of a config.

    Attributes:
        taps: layers whose outputs are recorded; none = images, labels and confidence only.
        images: how many, spread evenly over the evaluated set.
    """

    taps: tuple[str, ...]
    images: int

    @classmethod
    def parse(cls, node: Mapping[str, Any] | None) -> "MapsRequest | None":
        """Read the plain data of a `maps` node; None asks for nothing.

        Raises:
            ValueError: no mapping, an unknown or missing key, or a value out of range.
        """
        if node is None:
            return None
        if not isinstance(node, Mapping) or set(node) != {"taps", "images"}:
            raise ValueError(f"maps={node!r}; expected null or {{taps: [...], images: 4}}")
        taps = node["taps"]
        if isinstance(taps, str) or not isinstance(taps, Sequence):
            raise ValueError(f"maps.taps={taps!r}; expected a list of layers, such as [layer1.1]")
        return cls(
            tuple(dict.fromkeys(map(str, taps))), whole(node["images"], "maps.images", low=1)
        )

    def check(self, victim: Victim) -> None:
        """Refuse what could not be recorded, before hours of work.

        Raises:
            ValueError: a layer that the victim does not have.
        """
        unknown = [tap for tap in self.taps if tap not in victim.taps]
        if unknown:
            raise ValueError(f"maps.taps={unknown}: the victim has only {victim.taps}")

    def met_by(self, path: Path) -> bool:
        """Return whether a sound file holds what is requested."""
        try:
            found = Maps.read(path)
        except ArraysError:
            return False
        return found is not None and (found.taps, found.wanted) == (self.taps, self.images)

    def record(self, cell: Cell, result: Result, device: torch.device) -> Maps:
        """Return the maps of some images.

        Args:
            cell: victim and defense on `device`, data, clean images and seed.
            result: the attacked images, and the answers to both sets.
            device: where to compute.
        """
        victim, defense, clean = cell.victim, cell.defense, cell.clean
        places = torch.linspace(0, len(clean) - 1, min(self.images, len(clean))).long()
        ids = tuple(clean.ids[place] for place in places.tolist())
        seeds = defender_seeds(cell.seed, ids).to(device)
        sides = []
        for images, answers in (
            (clean.images, result.before),
            (result.attacked.images.images, result.after),
        ):
            x = images[places]
            with torch.no_grad():
                logits = victim(x.to(device))
            confidence, abstain = answers.confidence, answers.abstain
            plain = torch.full((len(x),), torch.nan)
            sides.append(
                Side(
                    images=_eight_bit(x),
                    victim_label=logits.argmax(1).cpu().numpy(),
                    defended_label=answers.label[places].numpy(),
                    confidence=(plain if confidence is None else confidence[places])
                    .double()
                    .numpy(),
                    abstain=np.zeros(len(x), bool) if abstain is None else abstain[places].numpy(),
                    victim=bare_maps(victim, x.to(device), self.taps),
                    defended=defended_maps(victim, defense, x.to(device), self.taps, seeds=seeds),
                    confidence_map=_confidence_map(victim, defense, x.to(device), seeds, logits),
                )
            )
        return Maps(
            ids=ids,
            labels=clean.labels[places].numpy(),
            classes=tuple(cell.data.classes),
            taps=self.taps,
            wanted=self.images,
            clean=sides[0],
            adversarial=sides[1],
        )


@torch.no_grad()
def _confidence_map(
    victim: Victim, defense: Defense, x: Tensor, seeds: Tensor, logits: Tensor
) -> np.ndarray:
    """The deployed defense's confidence of each pixel (N, H, W), where there are pixels to have."""
    if logits.ndim == 2:
        return np.zeros((len(x), 0, 0), np.float32)
    found = defense(x, victim, seeds=seeds).confidence_map
    if found is None:
        return np.zeros((len(x), 0, 0), np.float32)
    return found.float().cpu().numpy()


@torch.no_grad()
def bare_maps(victim: Victim, x: Tensor, taps: Sequence[str]) -> dict[str, np.ndarray]:
    """The victim's maps of images (N, C, H, W): tap -> (N, h, w), mean over the channels."""
    if not taps:
        return {}
    _, caught = victim.features(x, taps)
    return {tap: _mean_of_channels(tap, caught[tap]).float().cpu().numpy() for tap in taps}


@torch.no_grad()
def defended_maps(
    victim: Victim, defense: Defense, x: Tensor, taps: Sequence[str], *, seeds: Tensor
) -> dict[str, np.ndarray]:
    """Return the victim's maps as the defense queries it: mean over all queries of an image.

    For a vote that is the mean over its copies, the very ones that it votes on; for a purifier
    the map of the purified image.

    Args:
        victim: frozen.
        defense: deployed.
        x: images (N, C, H, W) in [0, 1].
        taps: layers.
        seeds: the deployed defense's, int64 (N,).
    """
    if not taps:
        return {}
    ones = zip(x.split(1), seeds.split(1), strict=True)
    images = [_defended(victim, defense, image, taps, seed) for image, seed in ones]
    return {tap: np.stack([image[tap] for image in images]) for tap in taps}


def _defended(
    victim: Victim, defense: Defense, x: Tensor, taps: Sequence[str], seeds: Tensor
) -> dict[str, np.ndarray]:
    """Return mean maps (h, w) of one image, alone, so that all queries are about it."""
    sums: dict[str, Tensor] = {}
    asked = 0

    def add(_victim: object, inputs: tuple[Tensor, ...], _logits: object) -> None:
        nonlocal asked
        asked += len(inputs[0])
        for tap in taps:
            seen = caught[tap][: len(inputs[0])]  # the victim fills small batches
            part = _mean_of_channels(tap, seen).sum(0)
            sums[tap] = sums[tap] + part if tap in sums else part

    with victim.tapped(taps) as caught:
        handle = victim.register_forward_hook(add)
        try:
            defense(x, victim, seeds=seeds)
        finally:
            handle.remove()
    if not asked:
        raise ValueError(f"{type(defense).__name__} answers without asking the victim: no maps")
    return {tap: (total / asked).float().cpu().numpy() for tap, total in sums.items()}


def _mean_of_channels(tap: str, activation: Tensor) -> Tensor:
    if activation.ndim != 4:
        raise ValueError(
            f"maps.taps: {tap!r} gives {tuple(activation.shape)}, expected maps (N, C, h, w)"
        )
    return activation.float().mean(1).double()


def _eight_bit(x: Tensor) -> np.ndarray:
    return (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
