"""What detectors are worth against an attack that knows them, through `evaluate` to metrics."""

from pathlib import Path

import pytest
import torch

from medrobust.attack.core.base import Attack
from medrobust.attack.joint_pgd import JointPGD
from medrobust.attack.pgd import PGD
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.detector import Detector
from medrobust.defense.feature_squeezing import FeatureSqueezing
from medrobust.defense.kd import KernelDensity
from medrobust.defense.mahalanobis import Mahalanobis
from medrobust.defense.median import Median
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import evaluate
from medrobust.threat.adaptive import Adaptive
from tests.support.clinic import TAPS, clinic


def measured(detector: Detector, attack: Attack, folder: Path) -> dict[str, float]:
    victim, _, x, y, *_ = clinic()
    result = evaluate(
        Cell(
            victim=victim,
            defense=detector,
            surrogate=Adaptive()(victim, detector),
            attack=attack,
            clean=ImageSet(x, y, tuple(f"clinic/test/{i}" for i in range(len(x)))),
            classes=3,
            seed=0,
            quantize=False,
        ),
        Runner(torch.device("cpu"), 60, TensorCache(folder)),
    )
    return result.measured.values


@pytest.mark.by_default("Mahalanobis")
@pytest.mark.parametrize(
    "detector",
    [
        KernelDensity(TAPS),
        Mahalanobis(TAPS),
        FeatureSqueezing([BitDepth(5), Median(3)]),
    ],
    ids=lambda detector: type(detector).__name__,
)
def test_an_attack_on_both_passes_a_detector(detector: Detector, tmp_path: Path) -> None:
    detector.fit(clinic().victim, clinic().data)
    plain, joint = (
        measured(detector.eval(), attack, tmp_path)
        for attack in (PGD(16 / 255, steps=20), JointPGD(16 / 255, steps=20))
    )
    assert joint["auroc_detection"] < plain["auroc_detection"] - 0.1
    assert joint["undetected_success_rate"] > plain["undetected_success_rate"] + 0.1
