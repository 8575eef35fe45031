"""The record of a cell's images: what it says of each is what the row says of all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from medrobust.attack.core.base import Attack
from medrobust.attack.core.crafted import Crafted
from medrobust.attack.core.goal import Goal
from medrobust.attack.pgd import PGD
from medrobust.attack.square import Square
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import Result, evaluate
from medrobust.evaluation.record.images import image_record
from medrobust.result.per_image import PerImage
from medrobust.rng import integers
from medrobust.threat.oblivious import Oblivious
from medrobust.threat.surrogate import Surrogate
from tests.support.guarded import Sum
from tests.support.helpers import small_cnn

N = 40


def run(
    folder: Path, attack: Attack, defense: Defense | None = None, *, batch_size: int = 16
) -> tuple[Cell, Result, PerImage]:
    victim, defense = small_cnn(), defense or NoDefense()
    victim.network[-1].weight.data *= 2000  # so sure that a probability of float32 is 1
    x = torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = victim(x).argmax(1)
    labels[::5] = (labels[::5] + 1) % 4
    made = Cell(
        *(victim, defense, Oblivious()(victim, defense), attack),
        ImageSet(x, labels, tuple(f"set/{i}" for i in range(N))),
        classes=4,
    )
    result = evaluate(made, Runner(torch.device("cpu"), batch_size, TensorCache(folder)))
    return made, result, image_record(made, result)


def test_its_columns_are_those_of_the_classifier(tmp_path: Path) -> None:
    made, result, record = run(tmp_path, PGD(8 / 255, steps=3))
    victim, x, y = made.victim, result.attacked.images.images, made.clean.labels
    with torch.no_grad():
        clean, attacked = victim(made.clean.images), victim(x)
    found = record.columns
    assert record.ids == made.clean.ids
    np.testing.assert_array_equal(found["label"], y)
    np.testing.assert_array_equal(found["clean_answer"], clean.argmax(1))
    np.testing.assert_array_equal(found["answer"], attacked.argmax(1))
    np.testing.assert_array_equal(found["correct"], attacked.argmax(1) == y)
    assert {name: value.dtype.name for name, value in found.items()} == {
        **dict.fromkeys(("label", "clean_answer", "answer"), "int64"),
        **dict.fromkeys(("clean_correct", "correct", "clean_log_odds", "log_odds"), "float64"),
    }
    values = result.measured.values
    assert found["correct"].mean() == values["accuracy"]
    assert found["clean_correct"].mean() == values["clean_accuracy"]
    lost = found["correct"][found["clean_correct"] == 1] == 0
    assert lost.mean() == pytest.approx(values["attack_success_rate"])


def test_the_log_odds_of_the_true_class_do_not_saturate(tmp_path: Path) -> None:
    made, _, record = run(tmp_path, PGD(1 / 255, steps=1))
    odds = record.columns["clean_log_odds"]
    with torch.no_grad():
        p = made.victim(made.clean.images).softmax(1)
    p = p.gather(1, made.clean.labels[:, None])[:, 0].numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-odds)), p, atol=1e-6)
    assert (p == 1).sum() > 1
    assert len(np.unique(odds)) > 30
    assert np.isfinite(odds).all()


def test_abstentions_and_rejections(tmp_path: Path) -> None:
    attack = PGD(8 / 255, steps=1)
    _, result, record = run(
        tmp_path / "vote", attack, MedRDF(GaussianNoise(0.3), NoDefense(), 9, alpha=0.2)
    )
    values = result.measured.values
    assert record.columns["abstained"].mean() == pytest.approx(values["abstention_rate"])
    assert "detected" not in record.columns
    assert not (record.columns["correct"] * record.columns["abstained"]).any()
    weight = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    _, result, record = run(tmp_path / "detector", attack, Sum(weight, 0.0).eval())
    values = result.measured.values
    for column in ("detected", "abstained"):
        assert record.columns[column].mean() == pytest.approx(values["detection_rate"])
        clean = record.columns[f"clean_{column}"]
        assert 1 - clean.mean() == pytest.approx(values["clean_acceptance_rate"])


def test_counted_queries(tmp_path: Path) -> None:
    _, result, record = run(tmp_path, Square(8 / 255, queries=5))
    assert record.columns["queries"].mean() == pytest.approx(result.measured.values["queries_mean"])
    assert "member" not in record.columns
    assert record.members == ()


class Ensemble(PGD):
    """PGD that says of each image, at random, which of two members fooled it."""

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Crafted:
        return Crafted(x.clone(), member=integers(seeds, 3) - 1)

    def members(self, surrogate: Surrogate, x: Tensor, y: Tensor, seeds: Tensor) -> tuple[str, ...]:
        return "weak", "strong"


def test_the_member_that_fooled_each_image_is_kept_and_replayed(
    tmp_path: Path,
) -> None:
    attack = Ensemble(8 / 255, steps=1)
    _, first, record = run(tmp_path / "a", attack)
    _, again, replayed = run(tmp_path / "a", attack)
    _, _, small = run(tmp_path / "b", attack, batch_size=7)
    assert not first.attacked.replayed
    assert again.attacked.replayed
    assert record.members == ("weak", "strong")
    assert record.columns["member"].dtype == np.int64
    assert set(record.columns["member"]) == {-1, 0, 1}
    for other in (replayed, small):
        np.testing.assert_array_equal(record.columns["member"], other.columns["member"])
    record.write(tmp_path / "row.images.npz")
    back = PerImage.read(tmp_path / "row.images.npz")
    assert back is not None
    assert (back.ids, back.members) == (record.ids, record.members)
    assert list(back.columns) == list(record.columns)
