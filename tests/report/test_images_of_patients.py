"""Intervals over patients, recomputed from `images.csv` with NumPy and SciPy alone."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import norm, t

import medrobust
from medrobust.attack import FGSM
from medrobust.cache.tensors import TensorCache
from medrobust.cli.report import main
from medrobust.data.core.image_set import ImageSet, load
from medrobust.data.kaggle_dr import KaggleDR
from medrobust.defense.none import NoDefense
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import evaluate
from medrobust.evaluation.record.images import image_record
from medrobust.result.row import Row
from medrobust.result.store import RowStore
from medrobust.threat.oblivious import Oblivious
from tests.support.helpers import linear_victim

TABLE = {"title": "A table", "rows": ["defense"], "columns": ["attack"]}
Made = tuple[KaggleDR, Cell, Row]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Both eyes of phantom patients, some of them with one eye in the test set."""
    folder = tmp_path_factory.mktemp("eyes")
    data = KaggleDR(
        *(folder / "eyes", folder / "manifests"),
        size=8,
        draw=None,
        phantom=True,
        phantom_n=400,
        limit_test=36,
    )
    victim, defense = linear_victim(classes=5, seed=5), NoDefense()
    surrogate, clean = Oblivious()(victim, defense), load(data, "test")
    cell = Cell(victim, defense, surrogate, FGSM("1/255"), clean, classes=5, data=data)
    return data, cell, medrobust.evaluate(victim, data, attack=FGSM("1/255"))


def wilson(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Wilson's interval at the effective sample size, written anew from its description."""
    names, place = np.unique(groups, return_inverse=True)
    n, k, p = len(right), len(names), right.mean()
    sums, sizes = np.bincount(place, right), np.bincount(place)
    variance = k / (k - 1) * ((sums - p * sizes) ** 2).sum() / n**2
    effect = variance / (p * (1 - p) / (n - 1))
    n = min(n, n / effect * (t.ppf(0.975, n - 1) / t.ppf(0.975, k - 1)) ** 2)
    z = norm.ppf(0.975)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((p + z**2 / (2 * n) + side) / (1 + z**2 / n) for side in (-half, half))
    return low, high


def test_intervals_follow_from_the_file(
    made: Made, sweep_folder: Callable[..., Path], tmp_path: Path
) -> None:
    _, cell, row = made
    folder = sweep_folder([row], TABLE)
    result = evaluate(cell, Runner(torch.device("cpu"), 64, TensorCache(tmp_path / "cache")))
    image_record(cell, result).write(RowStore(tmp_path / "rows").per_image(row.id))
    assert main([str(folder), "--format", "all"]) == 0
    with (folder / "images.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    group, label, answer = (
        np.array([int(line[name]) for line in lines]) for name in ("group", "label", "answer")
    )
    right = label == answer
    assert 0 < right.mean() < 1
    assert row.intervals["accuracy"] == pytest.approx(wilson(right.astype(float), group))
    own = np.bincount(answer).argmax()
    others = label != own
    one = wilson((answer != own)[others].astype(float), group[others])
    assert row.intervals[f"specificity_class_{own}"] == pytest.approx(one)

    count = group.max() + 1
    drawn = np.random.default_rng(row.seed).integers(0, count, (200, count))
    f1 = []
    for groups in drawn:
        again = np.concatenate([np.flatnonzero(group == one) for one in groups])
        true, said = label[again], answer[again]
        hit, all_true, all_said = (
            np.array([part(own) for own in range(5)])
            for part in (
                lambda own, a=true, b=said: ((a == own) & (b == own)).sum(),
                lambda own, a=true: (a == own).sum(),
                lambda own, b=said: (b == own).sum(),
            )
        )
        there = all_true + all_said > 0
        f1.append((2 * hit[there] / (all_true + all_said)[there]).mean())
    assert row.intervals["f1_macro"] == pytest.approx(np.quantile(f1, [0.025, 0.975]))
    text = (folder / "table.md").read_text()
    assert f"Intervals and tests are over {count} patients, not over images." in text


def test_both_eyes_are_one_group_without_a_name(made: Made) -> None:
    data, cell, row = made
    groups = cell.clean.groups
    assert groups is not None
    names = [entry.id.rpartition("_")[0] for entry in data.dataset("test").entries]
    assert [names.index(name) for name in names] == [groups.index.index(i) for i in groups.index]
    assert 18 <= groups.count == len(set(names)) < 36
    assert row.groups == {"patients": groups.count}
    assert set(image_record(cell, _result(cell)).columns["group"]) == set(range(groups.count))


def _result(cell: Cell) -> SimpleNamespace:
    """A result that records nothing by itself."""
    attacked = SimpleNamespace(queries=None, member=None, members=())
    return SimpleNamespace(measured=SimpleNamespace(per_image={}), attacked=attacked)


def test_groups_change_intervals_and_the_id_alone(made: Made) -> None:
    _, cell, row = made
    images = cell.clean
    alone = medrobust.evaluate(
        cell.victim,
        ImageSet(images.images, images.labels, images.ids),
        attack=FGSM("1/255"),
    )
    names = ImageSet.of(
        [(images.images, images.labels, images.ids)], groups=images.groups.index, kind="eyes"
    )
    own = medrobust.evaluate(cell.victim, names, attack=FGSM("1/255"))
    assert alone.groups == {}
    assert own.groups == {"eyes": images.groups.count}
    shared = set(alone.metrics) & set(row.metrics)
    assert {name: alone.metrics[name] for name in shared} == {
        name: own.metrics[name] for name in shared
    }
    assert own.intervals["accuracy"] == row.intervals["accuracy"] != alone.intervals["accuracy"]
    assert own.id != alone.id
    assert own.fingerprints["images"] == alone.fingerprints["images"]
    assert own.fingerprints["adversarial_set"] == alone.fingerprints["adversarial_set"]
    apart = ImageSet.of([(images.images, images.labels, images.ids)], groups=images.ids)
    assert medrobust.evaluate(cell.victim, apart, attack=FGSM("1/255")).id == alone.id
    with pytest.raises(ValueError, match="there are 2 groups for 36 images"):
        ImageSet.of([(images.images, images.labels, images.ids)], groups=[0, 0])
