"""Pictures of a cell."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from medrobust.defense.none import NoDefense
from medrobust.evaluation.images import ImageSet
from medrobust.evaluation.strip import TILE_PX, sheet, strips


def pictures(size: int, n: int = 9) -> tuple[ImageSet, dict[str, np.ndarray]]:
    images = torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0))
    ids = tuple(f"sample {number}" for number in range(n))
    clean = ImageSet(images, torch.zeros(n, dtype=torch.long), ids)
    attacked = clean.with_images((images + 0.1).clamp(0, 1))
    return clean, strips(clean, attacked, NoDefense(), seed=0)


@pytest.mark.parametrize(("size", "tile"), [(12, 12), (200, TILE_PX)])
def test_a_sheet_is_small_and_names_its_samples(size: int, tile: int) -> None:
    _, made = pictures(size)
    image = Image.open(io.BytesIO(sheet(made)))
    assert image.size == (4 * tile, 4 * tile)
    names = image.info["Description"].split("\n")
    assert names[0] == "sample 0"
    assert names[-1] == "sample 8"
    assert len(names) == 4


def test_a_sheet_shows_the_pixels() -> None:
    clean, made = pictures(12, n=2)
    shown = np.asarray(Image.open(io.BytesIO(sheet(made))))
    for number in (0, 1):
        tile = shown[12 * number : 12 * (number + 1), :12, 0]
        wanted = (clean.images[number, 0] * 255).round().numpy()
        assert np.array_equal(tile, wanted)
