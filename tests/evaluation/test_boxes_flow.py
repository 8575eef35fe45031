"""A cell of a detector: crafted, answered, measured; the same for any batch size, and replayed."""

import pytest
import torch

from medrobust.attack.core.base import Attack
from medrobust.attack.dag import DAG
from medrobust.attack.none import NoAttack
from medrobust.attack.pgd import PGD
from medrobust.attack.smia import SMIA
from medrobust.box.loss import retinanet_loss
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.defense.random_resize_pad import RandomResizePad
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import Result, evaluate
from medrobust.evaluation.record.pictures import strips
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.oblivious import Oblivious
from tests.support.boxes import CLASSES, answered, detector, pictures
from tests.support.kinds import slow_unless

SET = ImageSet(pictures(), answered(), tuple(f"set/{i}" for i in range(len(pictures()))))


def cell(folder, attack: Attack, defense: Defense, batch_size: int = 7, threat=None) -> Result:
    threat = threat or Oblivious()
    return evaluate(
        Cell(
            victim=detector(),
            defense=defense,
            surrogate=threat(detector(), defense),
            attack=attack,
            clean=SET,
            classes=CLASSES,
            seed=0,
            quantize=False,
        ),
        Runner(torch.device("cpu"), batch_size, TensorCache(folder)),
    )


@pytest.mark.by_default("attack0")
@pytest.mark.parametrize(
    "attack",
    [PGD(0.1, steps=5), slow_unless(False, SMIA(0.1, steps=5)), DAG(0.1, steps=10)],
)
def test_an_attack_costs_boxes(tmp_path, attack):
    clean = cell(tmp_path, NoAttack(), NoDefense())
    found = cell(tmp_path, attack, NoDefense())
    for name in ("map", "map_50", "iou", "recall"):
        assert clean.measured.values[name] == clean.measured.values[f"clean_{name}"]
        assert found.measured.values[name] <= clean.measured.values[name]
    assert found.measured.values["recall"] < clean.measured.values["recall"]
    assert clean.checks["surrogate_clean"] == 1.0  # what it answers is what is true here
    # DAG has nothing to climb where no anchor of a true box is right.
    assert found.checks["zero_gradient"] <= (0.5 if isinstance(attack, DAG) else 0.0)
    assert found.scores is None


@pytest.mark.parametrize("defense", [slow_unless(False, NoDefense()), Median()])
def test_the_same_for_any_batch_and_replayed(tmp_path, defense):
    one = cell(tmp_path / "a", PGD(0.05, steps=2), defense)
    other = cell(tmp_path / "b", PGD(0.05, steps=2), defense, batch_size=2)
    again = cell(tmp_path / "a", PGD(0.05, steps=2), defense, batch_size=3)
    assert again.attacked.replayed
    assert torch.equal(one.after.label, again.after.label)
    assert torch.equal(one.after.boxes, again.after.boxes)
    assert torch.equal(one.after.box_logit, again.after.box_logit)
    assert one.measured == again.measured
    assert torch.equal(one.after.label, other.after.label)
    assert torch.allclose(one.after.boxes, other.after.boxes, atol=1e-3)


def test_an_adaptive_attack_goes_through_a_purifier(tmp_path):
    """Its gradient is the median's own, which few pixels get: no stronger here than a blind one."""

    def loss(images: torch.Tensor) -> torch.Tensor:
        seen = Median()(images, detector(), seeds=torch.arange(len(images)))
        return retinanet_loss(seen, SET.labels).mean()

    found, blind = (
        cell(tmp_path, PGD(0.05, steps=3), Median(), threat=threat).attacked
        for threat in (Adaptive(1), Oblivious())
    )
    assert not torch.equal(found.images.images, blind.images.images)
    assert found.checks["zero_gradient"] == 0
    with torch.no_grad():
        assert loss(found.images.images) > 1.2 * loss(SET.images)


def test_votes_and_what_moves_pixels_are_refused(tmp_path):
    vote = MedRDF(GaussianNoise(0.1), NoDefense(), copies=2)
    for defense, what in (
        (vote, "votes on classes, not on"),
        (RandomResizePad(), "moves the pixels"),
    ):
        with pytest.raises(ValueError, match=what):
            cell(tmp_path, NoAttack(), defense)


def test_pictures_show_boxes(tmp_path):
    found = cell(tmp_path, PGD(0.05, steps=3), NoDefense())
    made = strips(
        SET, found.attacked.images, NoDefense(), seed=0, answers=(found.before, found.after)
    )
    plain = strips(SET, found.attacked.images, NoDefense(), seed=0)
    assert made.keys() == plain.keys()
    assert all((made[name][:, :128] != plain[name][:, :128]).any() for name in made)
    assert all((made[name][:, 128:] == plain[name][:, 128:]).all() for name in made)
