"""MedRDF in a cell, with either stopping: what its row says."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from medrobust.attack.none import NoAttack
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import Result, evaluate
from medrobust.resolvers import register
from medrobust.threat.oblivious import Oblivious
from tests.support.helpers import class_directions, linear_victim

CONF = Path(__file__).parents[2] / "conf"
N = 23


def cell(folder: Path, defense: MedRDF, batch_size: int = 16) -> Result:
    victim = linear_victim()
    labels = torch.arange(N) % 4
    steps = torch.linspace(0.05, 1, N).view(-1, 1, 1, 1)  # the first images are near ties
    images = (0.5 + steps * class_directions(victim)[labels]).clamp(0, 1)
    return evaluate(
        Cell(
            victim=victim,
            defense=defense,
            surrogate=Oblivious()(victim, defense),
            attack=NoAttack(),
            clean=ImageSet(images, labels, tuple(f"set/{i}" for i in range(N))),
            classes=4,
            seed=0,
            quantize=False,
        ),
        Runner(torch.device("cpu"), batch_size, TensorCache(folder)),
    )


@pytest.fixture
def fixed(tmp_path):
    return cell(tmp_path, MedRDF(GaussianNoise(0.15), NoDefense(), 400)).measured


def test_a_row_carries_what_the_vote_knows(fixed):
    values, intervals = fixed.values, fixed.intervals
    kinds = ["correct_robust", "correct_not_robust", "incorrect_not_robust", "incorrect_robust"]
    shares = [values[f"rm_{kind}"] for kind in kinds]
    assert sum(shares) == pytest.approx(1)
    assert shares[0] + shares[1] == pytest.approx(values["accuracy"])
    assert shares[0] + shares[3] == pytest.approx(values["rm_robust"])
    assert 0 < values["rm_robust"] < 1
    assert values["rm_low"] <= values["robust_metric"] <= values["rm_high"]
    assert values["copies"] == values["copies_median"] == 400
    answered = 1 - values["abstention_rate"]
    assert values["accuracy_answered"] * answered == pytest.approx(values["accuracy"])
    for name in ("rm_correct_robust", "rm_settled", "abstention_rate", "robust_metric", "rm_low"):
        low, high = intervals[name]
        assert low <= values[name] <= high


def test_sequential_says_the_same_with_fewer_copies_in_any_batch(tmp_path, fixed):
    vote = MedRDF(GaussianNoise(0.15), NoDefense(), 400, stopping="sequential")
    found = cell(tmp_path / "a", vote).measured
    assert found.values["copies"] < 360
    for name in ("accuracy", "abstention_rate", "rm_correct_robust", "rm_incorrect_robust"):
        assert found.values[name] == pytest.approx(fixed.values[name], abs=1.01 / N)
    assert cell(tmp_path / "b", vote, batch_size=5).measured.values == found.values
    replayed = cell(tmp_path / "a", vote).measured
    assert replayed == found


@pytest.mark.parametrize("stopping", ["fixed", "sequential"])
def test_config_builds_it(stopping):
    register()
    words = ["defense=medrdf", f"stopping={stopping}", "copies=70"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        defense = instantiate(compose("evaluate", overrides=words).defense)
    assert isinstance(defense, MedRDF)
    assert defense.copies == 70
    assert defense.settings["stopping"] == stopping
    assert defense.settings["rm_threshold"] is None
    assert defense.settings["decide"] == "label_and_rm"
