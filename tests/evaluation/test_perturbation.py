"""A cell that also measures its perturbations: the same images, no second attack."""

import pytest
import torch

from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack
from medrobust.attack.deepfool import DeepFool
from medrobust.attack.none import NoAttack
from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.attack.smia import SMIA
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.none import NoDefense
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import Result, evaluate
from medrobust.evaluation.stream import attacker_seeds
from medrobust.metric.perturbation import variance
from medrobust.threat.oblivious import Oblivious
from tests.support.helpers import small_cnn

N, EPS = 21, 4 / 255


@pytest.fixture(scope="module")
def clean() -> ImageSet:
    images = torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return ImageSet(images, small_cnn()(images).argmax(1), tuple(f"set/{i}" for i in range(N)))


def cell(
    folder, clean: ImageSet, attack: Attack, *, batch_size: int = 8, perturbation: bool = True
) -> Result:
    victim = small_cnn()
    return evaluate(
        Cell(
            victim=victim,
            defense=NoDefense(),
            surrogate=Oblivious()(victim, NoDefense()),
            attack=attack,
            clean=clean,
            classes=4,
            seed=0,
            quantize=False,
            perturbation=perturbation,
        ),
        Runner(torch.device("cpu"), batch_size, TensorCache(folder)),
    )


def by_hand(attack: BIM | SMIA, clean: ImageSet) -> float:
    """Share of positive cosines, from points that a watcher kept."""
    points = [clean.images.double()]

    def keep(rows: torch.Tensor, step: int, before: torch.Tensor, after: torch.Tensor) -> None:
        assert torch.equal(rows, torch.arange(N))
        assert step == len(points) - 1
        torch.testing.assert_close(before.double(), points[-1])
        points.append(after.double())

    victim = small_cnn()
    surrogate = Oblivious()(victim, NoDefense())
    with attack.watched(keep):
        attack(surrogate, clean.images, clean.labels, seeds=attacker_seeds(0, clean.ids))
    assert not attack._watchers
    steps = torch.stack(points).diff(dim=0).flatten(2)
    cosine = torch.nn.functional.cosine_similarity(steps[1:], steps[:-1], dim=2)
    return (cosine > 0).double().mean().item()


@pytest.mark.parametrize("attack", [BIM(EPS, steps=6), SMIA(EPS, steps=6)], ids=["bim", "smia"])
def test_both_are_those_of_the_set_for_any_batch_size(tmp_path, clean, attack) -> None:
    found = cell(tmp_path, clean, attack)
    values = found.measured.values
    assert values["perturbation_cosine"] == pytest.approx(by_hand(attack, clean))
    rough = variance(clean.images, found.attacked.images.images, EPS)
    assert values["perturbation_variance"] == pytest.approx(rough.mean().item())
    assert {"perturbation_cosine", "perturbation_variance"} <= set(found.measured.intervals)
    again = cell(tmp_path, clean, attack)  # from the cache
    assert again.attacked.replayed
    assert again.measured == found.measured
    other = cell(tmp_path / "other", clean, attack, batch_size=5)
    assert other.measured == found.measured


def test_images_and_plain_rows_are_what_they_were(tmp_path, clean) -> None:
    attack = PGD(EPS, steps=3, restarts=2)
    plain = cell(tmp_path, clean, attack, perturbation=False)
    asked = cell(tmp_path, clean, attack)
    assert torch.equal(plain.attacked.images.images, asked.attacked.images.images)
    more = set(asked.measured.values) - set(plain.measured.values)
    assert more == {"perturbation_cosine", "perturbation_variance"}
    assert plain.attacked.course is None
    # The plain set holds no course, so it cannot stand for the other.
    assert plain.attacked.key != asked.attacked.key


@pytest.mark.parametrize(
    ("attack", "names"),
    [
        (NoAttack(), set()),
        (PGDL2(0.2, steps=3), {"perturbation_cosine"}),
        (DeepFool(EPS, norm="linf", steps=3), {"perturbation_variance"}),
        (DeepFool(steps=3), set()),
    ],
    ids=["none", "l2", "deepfool", "deepfool_unbounded"],
)
def test_only_what_is_defined(tmp_path, clean, attack, names) -> None:
    found = cell(tmp_path, clean, attack).measured.values
    assert {name for name in found if name.startswith("perturbation")} == names
