"""Storage of phantoms, written atomically."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medrobust.data.core.split import Split

RECIPE_VERSION: Final = 2  # increment with any change of the drawings
_NOTE = "PHANTOM.json"


def phantom_folder(root: Path, n: int, size: int) -> Path:
    """Return the folder of a phantom, one for each recipe, count and size."""
    return root / "phantom" / f"recipe{RECIPE_VERSION}_n{n}_{size}px"


def materialise(folder: Path, write: Callable[[Path], None]) -> None:
    """Create `folder` by `write` if it does not exist.

    The folder is written under another name and renamed, so that an existing folder is complete and
    two processes may do this at once.

    Args:
        folder: folder to create.
        write: fills the given folder.
    """
    if (folder / _NOTE).is_file():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        temporary.chmod(0o755)
        write(temporary)
        note = {"phantom": True, "recipe": RECIPE_VERSION, "note": "drawn, no medical images"}
        (temporary / _NOTE).write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")
        with contextlib.suppress(OSError):  # another process was first, with the same content
            temporary.rename(folder)
        if not (folder / _NOTE).is_file():
            raise FileExistsError(f"{folder} is not a complete phantom; delete this folder")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def class_labels(n: int, weights: Sequence[float], seed: int) -> NDArray[np.int64]:
    """Draw the labels of n images in a seeded order, with class shares by `weights`.

    Every class gets at least ten images, so that each split can hold some.

    Raises:
        ValueError: n is too small for that.
    """
    if n < 10 * len(weights):
        raise ValueError(
            f"data.phantom_n is {n}, expected at least {10 * len(weights)}: ten images per class"
        )
    shares = np.asarray(weights, dtype=np.float64)
    counts = np.maximum(10, np.floor(shares / shares.sum() * n)).astype(np.int64)
    counts[np.argmax(counts)] += n - counts.sum()
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng([seed, 1]).permutation(labels)


def official_splits(labels: NDArray[np.int64], val: float, test: float) -> list[Split]:
    """Return a stratified split for phantoms of datasets that come with an official one."""
    splits: list[Split] = ["train"] * len(labels)
    for c in np.unique(labels):
        inside = np.flatnonzero(labels == c)
        n_test, n_val = max(1, round(test * len(inside))), max(1, round(val * len(inside)))
        for position in inside[:n_test]:
            splits[position] = "test"
        for position in inside[n_test : n_test + n_val]:
            splits[position] = "val"
    return splits


def save_image(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write pixels (H, W) or (H, W, 3) as PNG or JPEG, by the suffix of the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Full chroma and high quality: the classes differ in faint textures.
    Image.fromarray(pixels).save(path, quality=95, subsampling=0)
