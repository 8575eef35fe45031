"""Thresholds from the deployed system's clean validation answers, once per victim and defense."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from sklearn.metrics import recall_score, roc_curve
from torch import Tensor

import medrobust
from medrobust.attack import FGSM, PGD
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import evaluate
from medrobust.evaluation.identity.scientific import Science, global_keys
from medrobust.evaluation.operating_point import check_operating_point
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction, log_odds
from medrobust.threat.oblivious import Oblivious
from tests.experiment.paper_cells import composed
from tests.support.clinic import CLASSES, clinic


class Darker(Defense):
    """Halves the image, and counts the images that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        self.seen += len(x)
        return Prediction(victim(x / 2))


def images(split: str) -> ImageSet:
    known = clinic().data.splits[split]
    names = tuple(f"clinic/{split}/{number}" for number in range(len(known)))
    return ImageSet(known.images, known.labels, names)


def test_the_deployed_system_is_calibrated_once(tmp_path: Path) -> None:
    victim, defense = clinic().victim, Darker()
    known, test = images("val"), images("test")
    cell = Cell(
        *(victim, defense, Oblivious()(victim, defense), FGSM("2/255"), test),
        classes=CLASSES,
        operating_point=0.9,
        validation=known,
    )
    runner = Runner(torch.device("cpu"), 64, TensorCache(tmp_path))
    first = evaluate(cell, runner)
    assert defense.seen == len(known) + 2 * len(test)
    other = evaluate(replace(cell, attack=PGD("2/255", steps=2)), runner)
    assert defense.seen == len(known) + 3 * len(test)  # neither val nor clean images again
    assert first.keys["validation_answers"] == other.keys["validation_answers"]
    odds, labels = log_odds(victim(known.images / 2)).numpy(), known.labels.numpy()
    attacked = log_odds(victim(first.attacked.images.images / 2)).numpy()
    for own in range(CLASSES):
        fpr, _, limits = roc_curve(labels == own, odds[:, own], drop_intermediate=False)
        limit = limits[1 - fpr >= 0.9].min()
        for found in (first, other):
            value = found.measured.values[f"operating_threshold_class_{own}"]
            assert value == pytest.approx(limit, abs=1e-4)
        for name, among, right in (
            ("sensitivity", test.labels == own, attacked[:, own] >= limit),
            ("specificity", test.labels != own, attacked[:, own] < limit),
        ):
            value = first.measured.values[f"{name}_at_operating_point_class_{own}"]
            assert value == pytest.approx(recall_score(among, right))
    plain = evaluate(replace(cell, operating_point=None, validation=None), runner)
    assert not any("operating" in name for name in plain.measured.values)
    assert plain.measured.values.items() < first.measured.values.items()


def test_the_rule_counts_where_there_is_one() -> None:
    words = ("model=vgg16_slim", "data.phantom=true", "logger=none", "paths.root=.")
    configs = [
        composed(*words, *more)
        for more in ([], ["operating_point=youden"], ["operating_point=9/10"])
    ]
    plain, youden, level = (
        Science.of(OmegaConf.masked_copy(one, [name for name in one if name != "hydra"]))
        for one in configs
    )
    assert "operating_point" not in plain.keys
    assert youden.keys == global_keys(configs[0]) | {"operating_point": "youden"}
    assert level.keys["operating_point"] == 0.9


def test_what_has_no_operating_point_is_refused() -> None:
    labels = torch.zeros(3, dtype=torch.int64)
    check_operating_point("youden", "test", labels)
    check_operating_point(None, "val", labels)
    with pytest.raises(ValueError, match="which split=val evaluates; set split=test"):
        check_operating_point("youden", "val", labels)
    with pytest.raises(ValueError, match="needs class labels, but the task is segmentation"):
        check_operating_point(0.9, "test", torch.zeros(3, 4, 4, dtype=torch.int64))
    x = torch.rand(4, 3, 16, 16)
    with pytest.raises(ValueError, match="tensors without any; give medrobust"):
        medrobust.evaluate(clinic().victim, (x, torch.arange(4) % 3), operating_point="youden")
