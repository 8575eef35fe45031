"""Pictures of a cell."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from medrobust.data.core.image_set import ImageSet
from medrobust.defense.none import NoDefense
from medrobust.evaluation.record.drawn_boxes import RIGHT, WRONG
from medrobust.evaluation.record.pictures import TILE_PX, sheet, strips
from medrobust.prediction import Answers


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


def test_boxes_are_drawn_into_the_first_two_tiles() -> None:
    labels = torch.tensor([[[1.0, 2, 2, 10, 10], [-1, 0, 0, 0, 0]]] * 2)
    ids = ("a", "b")
    clean = ImageSet(torch.full((2, 1, 16, 16), 0.5), labels, ids)
    attacked = clean.with_images(clean.images + 0.1)
    boxes = torch.tensor([[[2.0, 2, 10, 10], [3, 3, 15, 15]]] * 2)
    none = (None, None, None, None, 0.0)
    right = Answers(
        torch.tensor([[1, 0]] * 2), *none, boxes=boxes, box_logit=torch.tensor([[2.0, -2.0]] * 2)
    )
    wrong = right._replace(label=torch.tensor([[0, -1]] * 2))
    made = strips(clean, attacked, NoDefense(), seed=0, answers=(right, wrong))
    plain = strips(clean, attacked, NoDefense(), seed=0)
    assert list(made) == list(ids)
    picture = made["a"]
    assert picture.shape == (16, 64, 3)
    assert np.array_equal(picture[:, 32:], plain["a"][:, 32:])
    colours = [
        {tuple(c) for c in picture[:, 16 * i : 16 * i + 16].reshape(-1, 3).tolist()} for i in (0, 1)
    ]
    assert RIGHT in colours[0]
    assert WRONG not in colours[0]  # the weak answer is not shown
    assert WRONG in colours[1]
    assert RIGHT not in colours[1]
    assert all((255, 255, 255) in found for found in colours)
    assert sheet(made)
