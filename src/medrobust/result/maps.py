"""Feature maps of a few images of a cell, for figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrobust.result.arrays import Arrays, read_arrays, write_arrays

KIND = "maps 2"
SIDES = ("clean", "adversarial")
_MAPS = ("victim", "defended")


@dataclass(frozen=True)
class Side:
    """Images of one side, clean or adversarial, with predictions and feature maps.

    Attributes:
        images: images, uint8 (N, H, W, C).
        victim_label: prediction of the bare victim, int64 (N,), or (N, H, W) for masks.
        defended_label: prediction of the deployed system, likewise.
        confidence: confidence of the defense, such as the robust metric, float (N,); NaN if none.
        abstain: whether the defense abstained, bool (N,), or (N, H, W) for single pixels.
        victim: tap -> map of the bare victim, float32 (N, h, w), mean over the channels.
        defended: tap -> map of the defended victim, likewise, also averaged over its copies.
        confidence_map: confidence per pixel of a mask, float32 (N, H, W); shape (N, 0, 0) if the
            defense has none.
    """

    images: NDArray[np.uint8]
    victim_label: NDArray[np.int64]
    defended_label: NDArray[np.int64]
    confidence: NDArray[np.float64]
    abstain: NDArray[np.bool_]
    victim: Mapping[str, NDArray[np.float32]]
    defended: Mapping[str, NDArray[np.float32]]
    confidence_map: NDArray[np.float32] = field(
        default_factory=lambda: np.zeros((0, 0, 0), np.float32)
    )


@dataclass(frozen=True)
class Maps:
    """Some images of a cell.

    Attributes:
        ids: N sample ids.
        labels: true classes, int64 (N,), or masks (N, H, W).
        classes: names of the K classes.
        taps: names of the recorded layers; see `Victim.taps`.
        wanted: number of images requested; a smaller set has fewer.
        clean: clean images.
        adversarial: the same images after the attack.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    taps: tuple[str, ...]
    wanted: int
    clean: Side
    adversarial: Side

    def write(self, path: Path) -> None:
        """Write a compressed NumPy archive atomically; equal maps give equal bytes."""
        arrays: dict[str, Any] = {
            "ids": np.array(self.ids, dtype=str),
            "labels": self.labels,
            "classes": np.array(self.classes, dtype=str),
            "taps": np.array(self.taps, dtype=str),
            "wanted": np.array(self.wanted),
        }
        for name in SIDES:
            side: Side = getattr(self, name)
            for item in fields(Side):
                value = getattr(side, item.name)
                if item.name in _MAPS:
                    arrays |= {f"{name}.{item.name}.{tap}": value[tap] for tap in self.taps}
                else:
                    arrays[f"{name}.{item.name}"] = value
        write_arrays(path, KIND, arrays)

    @classmethod
    def read(cls, path: Path) -> "Maps | None":
        """Return what `write` wrote, or None if the file does not exist.

        Raises:
            ArraysError: the file is damaged or of another format.
        """
        arrays = read_arrays(path, KIND)
        if arrays is None:
            return None
        ids, classes, taps = (arrays.texts(name) for name in ("ids", "classes", "taps"))
        clean, adversarial = (_side(arrays, name, len(ids), len(classes), taps) for name in SIDES)
        labels = arrays.take("labels", "iuf", len(ids), ...)
        if labels.ndim == 1:
            labels = arrays.classes("labels", len(classes), len(ids))
        return cls(
            ids=ids,
            labels=labels,
            classes=classes,
            taps=taps,
            wanted=int(arrays.take("wanted", "iu")),
            clean=clean,
            adversarial=adversarial,
        )


def _side(arrays: Arrays, name: str, count: int, classes: int, taps: tuple[str, ...]) -> Side:
    """Return one side of the maps of `count` images."""

    def maps(network: str) -> dict[str, NDArray[np.float32]]:
        return {tap: arrays.take(f"{name}.{network}.{tap}", "f", count, None, None) for tap in taps}

    return Side(
        images=arrays.take(f"{name}.images", "u", count, None, None, None),
        victim_label=arrays.classes(f"{name}.victim_label", classes, count, ...),
        defended_label=arrays.classes(f"{name}.defended_label", classes, count, ...),
        confidence=arrays.take(f"{name}.confidence", "f", count),
        abstain=arrays.take(f"{name}.abstain", "b", count, ...),
        victim=maps("victim"),
        defended=maps("defended"),
        confidence_map=arrays.take(f"{name}.confidence_map", "f", None, None, None),
    )
