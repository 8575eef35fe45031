"""Pictures of a cell: clean, adversarial, as the victim gets it, and the difference."""

import io
from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.evaluation.record.drawn_boxes import with_boxes
from medrobust.evaluation.stream import defender_seeds
from medrobust.prediction import Answers

TILE_PX = 72  # of a sheet: a page holds one for every cell of a sweep


def strips(
    clean: ImageSet,
    attacked: ImageSet,
    defense: Defense,
    *,
    seed: int,
    count: int = 6,
    answers: tuple[Answers, Answers] | None = None,
) -> dict[str, np.ndarray]:
    """One picture per sample: clean, adversarial, as defended, and the difference, side by side.

    The difference is stretched so that its largest value reaches black or white; grey is none.
    Of a detector the first two show the true boxes and what is answered, see `with_boxes`.

    Args:
        clean: clean samples.
        attacked: the same samples, attacked.
        defense: on the host.
        seed: the run's seed.
        count: samples, spread evenly over the set.
        answers: of the deployed system, to the clean and the attacked images.

    Returns:
        sample id -> uint8 array (H, 4 W, 3).
    """
    places = torch.linspace(0, len(clean) - 1, min(count, len(clean))).long()
    before, after = clean.images[places], attacked.images[places]
    ids = [clean.ids[place] for place in places.tolist()]
    seeds = defender_seeds(seed, ids)
    with torch.no_grad():
        seen = defense.view(after, seeds=seeds)
    change = after - before
    largest = change.abs().flatten(1).amax(1).clamp(min=1e-12).view(-1, 1, 1, 1)
    tiles = [before, after, seen, 0.5 + 0.5 * change / largest]
    if answers is not None and answers[0].boxes is not None:
        labels = clean.labels[places]
        for number, found in enumerate(answers):
            tiles[number] = with_boxes(tiles[number], labels, found, places)
        tiles = [tile.expand(-1, 3, -1, -1) for tile in tiles]
    rows = torch.cat(tiles, dim=3)
    return {name: _picture(row) for name, row in zip(ids, rows, strict=True)}


def sheet(pictures: Mapping[str, np.ndarray], *, count: int = 4) -> bytes:
    """Some strips below each other, small, as the report shows them.

    Args:
        pictures: what `strips` gave.
        count: most strips taken, spread evenly.

    Returns:
        PNG; its text `Description` holds the sample ids, top to bottom, one per line: a line
        break in an id is a space there.
    """
    names = list(pictures)
    places = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    chosen = [names[place] for place in places]
    stacked = np.concatenate([pictures[name] for name in chosen])
    scale = min(1.0, TILE_PX * len(chosen) / stacked.shape[0])
    size = (round(stacked.shape[1] * scale), round(stacked.shape[0] * scale))
    info = PngInfo()
    info.add_itxt("Description", "\n".join(name.replace("\n", " ") for name in chosen))
    file = io.BytesIO()
    Image.fromarray(stacked).resize(size, Image.Resampling.BOX).save(
        file, format="PNG", optimize=True, pnginfo=info
    )
    return file.getvalue()


def _picture(image: Tensor) -> np.ndarray:
    colour = image.expand(3, -1, -1) if image.shape[0] == 1 else image
    return (colour.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
