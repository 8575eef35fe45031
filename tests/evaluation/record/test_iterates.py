"""Perturbations on the way: those of the very attack of the cell, refused where there is no way."""

from pathlib import Path

import numpy as np
import pytest
import torch

from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack
from medrobust.attack.deepfool import DeepFool
from medrobust.attack.pgd import PGD
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.none import NoDefense
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.record.iterates import IteratesRequest
from medrobust.evaluation.stream import attacker_seeds
from medrobust.result.arrays import ArraysError
from medrobust.result.iterates import Iterates
from medrobust.threat.oblivious import Oblivious
from medrobust.threat.surrogate import Surrogate
from tests.support.helpers import small_cnn

N, EPS = 9, 4 / 255


@pytest.fixture(scope="module")
def surrogate() -> Surrogate:
    return Oblivious()(small_cnn(), NoDefense())


@pytest.fixture(scope="module")
def clean() -> ImageSet:
    images = torch.rand(N, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    return ImageSet(images, small_cnn()(images).argmax(1), tuple(f"set/{i}" for i in range(N)))


def record(surrogate: Surrogate, attack: Attack, clean: ImageSet, at: list[int]) -> Iterates:
    request = IteratesRequest.parse({"at": at, "images": 3})
    assert request is not None
    victim, defense = small_cnn(), NoDefense()
    cell = Cell(victim, defense, surrogate, attack, clean, classes=4)
    return request.record(cell, torch.device("cpu"))


def test_after_t_steps_stands_the_attack_of_t_steps(surrogate, clean) -> None:
    """With a step size of its own, and one image fooled or not: the last point of a shorter run."""
    found = record(surrogate, BIM(EPS, steps=5, step_size=EPS / 5), clean, [1, 4])
    assert found.ids == ("set/0", "set/4", "set/8")
    assert found.perturbations.shape == (2, 3, 6, 7, 3)
    x = clean.images[[0, 4, 8]]
    np.testing.assert_array_equal(found.clean, x.permute(0, 2, 3, 1).numpy())
    seeds = attacker_seeds(0, found.ids)
    one = BIM(EPS / 5, steps=1)(surrogate, x, clean.labels[[0, 4, 8]], seeds=seeds) - x
    np.testing.assert_allclose(found.perturbations[0], one.permute(0, 2, 3, 1).numpy(), atol=1e-6)
    assert abs(found.perturbations[1]).max() == pytest.approx(4 / 5 * EPS, rel=1e-4)


def test_the_first_restart_counts_and_who_left_stays(surrogate, clean) -> None:
    once = record(surrogate, PGD(EPS, steps=3), clean, [1, 3])
    twice = record(surrogate, PGD(EPS, steps=3, restarts=2), clean, [1, 3])
    np.testing.assert_array_equal(once.perturbations, twice.perturbations)
    large = record(surrogate, PGD(0.5, steps=4, early_stop=True), clean, [1, 2, 4])
    assert np.isfinite(large.perturbations).all()
    assert large.perturbations[2].any()


def test_written_and_read(surrogate, clean, tmp_path: Path) -> None:
    path = tmp_path / "a.iterates.npz"
    request = IteratesRequest((1, 2), 3)
    assert not request.met_by(path)
    made = record(surrogate, BIM(EPS, steps=2), clean, [2, 1])
    made.write(path)
    found = Iterates.read(path)
    assert found is not None
    assert (found.ids, found.at, found.eps) == (made.ids, (1, 2), EPS)
    np.testing.assert_array_equal(found.perturbations, made.perturbations)
    assert request.met_by(path)
    assert not IteratesRequest((1,), 3).met_by(path)
    path.write_bytes(b"broken")
    assert not request.met_by(path)
    with pytest.raises(ArraysError, match="damaged"):
        Iterates.read(path)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ([1], "expected null or"),
        ({"at": [1]}, "expected null or"),
        ({"at": "1", "images": 1}, "list of iterations"),
        ({"at": [], "images": 1}, "list of iterations"),
        ({"at": [0], "images": 1}, r"iterates\.at"),
        ({"at": [1], "images": 0}, r"iterates\.images"),
    ],
)
def test_a_wrong_request_is_named(node, message) -> None:
    with pytest.raises(ValueError, match=message):
        IteratesRequest.parse(node)


def test_attacks_without_a_way_or_with_a_shorter_one_are_refused() -> None:
    request = IteratesRequest((1, 4), 1)
    with pytest.raises(ValueError, match="not of DeepFool; set iterates=null"):
        request.check(DeepFool())
    with pytest.raises(ValueError, match=r"makes 3 steps; set attack\.steps"):
        request.check(BIM(EPS, steps=3))
    request.check(BIM(EPS, steps=4))
