"""A detector's cell: metrics and scores of what it answered, and what it costs."""

import torch

from medrobust.attack.joint_pgd import JointPGD
from medrobust.attack.none import NoAttack
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import Result, evaluate
from medrobust.report.table.measure import measure
from medrobust.result.row import Row
from medrobust.threat.adaptive import Adaptive
from tests.support.clinic import clinic
from tests.support.guarded import Sum


def run(tmp_path, attack) -> tuple[Result, Sum]:
    victim, _, x, y, *_ = clinic()
    weight = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0)) / 50
    detector = Sum(weight, float((x * weight).flatten(1).sum(1).quantile(0.9))).eval()
    images = ImageSet(x, y, tuple(f"clinic/test/{i}" for i in range(len(x))))
    result = evaluate(
        Cell(
            victim=victim,
            defense=detector,
            surrogate=Adaptive()(victim, detector),
            attack=attack,
            clean=images,
            classes=3,
            seed=0,
            quantize=False,
        ),
        Runner(torch.device("cpu"), 25, TensorCache(tmp_path)),
    )
    return result, detector


def test_a_detectors_row(tmp_path):
    result, detector = run(tmp_path, JointPGD(16 / 255, steps=10))
    values, scores = result.measured.values, result.scores
    victim, _, x, y, *_ = clinic()
    found = result.attacked.images.images
    with torch.no_grad():
        right = victim(x).argmax(1) == y
        wrong = victim(found).argmax(1) != y
    passes = (found * detector.statistics["weight"]).flatten(1).sum(1) <= detector.threshold
    share = (right & wrong & passes).sum() / right.sum()
    assert abs(values["undetected_success_rate"] - share.item()) < 1e-6
    assert values["accuracy_accepted"] == values["accuracy_answered"]
    assert values["detection_rate"] == values["abstention_rate"]
    assert 0 <= values["auroc_detection"] <= 1
    assert set(result.measured.intervals) >= {"auroc_detection", "tpr_at_90_tnr_successful"}
    assert scores is not None
    assert scores.changed
    assert scores.threshold == float(detector.threshold)
    assert (scores.adversarial <= scores.threshold).tolist() == passes.tolist()
    assert scores.fooled.tolist() == (right & wrong).tolist()
    assert result.seconds["cushion_per_image"] == 0
    row = Row("a", "done", {}, seconds=result.seconds, metrics=values)
    assert measure(row, "detector_overhead") > 0.5
    assert measure(Row("a", "done", {}), "detector_overhead") is None
    again, _ = run(tmp_path, JointPGD(16 / 255, steps=10))  # replayed from the cache
    assert again.measured.values == values


def test_clean_images_have_no_positives(tmp_path):
    result, _ = run(tmp_path, NoAttack(None))
    assert "clean_acceptance_rate" in result.measured.values
    assert "auroc_detection" not in result.measured.values
    assert result.scores is not None
    assert not result.scores.changed
