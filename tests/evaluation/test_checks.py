"""Attack-strength checks of one cell: what raises a flag, and what must not."""

import pytest
import torch
from torch import Tensor

from medrobust.attack.apgd_ce import APGDCE
from medrobust.attack.autoattack import AutoAttack
from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack
from medrobust.attack.fgsm import FGSM
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.stress import LossOnly, Stress
from medrobust.attack.momentum_pgd import MomentumPGD
from medrobust.attack.none import NoAttack
from medrobust.attack.pgd import PGD
from medrobust.attack.square import Square
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.bit_clipping import BitClipping
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.base import Defense
from medrobust.defense.jpeg import JPEG
from medrobust.defense.kd import KernelDensity
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.checks import coarsest_quantization, craft_checks, flags
from medrobust.evaluation.stream import attacker_seeds
from medrobust.result.flag import Flag
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.base import Threat
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.oblivious import Oblivious
from medrobust.threat.reduced import ReducedPrecision
from tests.support.clinic import clinic

pytestmark = pytest.mark.usefixtures("all_directions")

SOUND = {
    "surrogate_clean": 0.9,
    "surrogate_adversarial": 0.1,
    "linf_median": 8 / 255,
    "linf_max": 8 / 255,
}


class Opposite(JPEG):
    """A defense whose author gave it a derivative that leads the wrong way."""

    def stand_in(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return -super().stand_in(x, seeds=seeds)


def measured(
    path,
    attack: Attack,
    *,
    defense: Defense | None = None,
    threat: Threat | None = None,
    labels: Tensor | None = None,
    batch_size: int = 16,
) -> tuple[dict[str, float], list[Flag]]:
    """Craft on the clinic's images and check."""
    victim, _, images, truth, *_ = clinic()
    truth = truth if labels is None else labels
    clean = ImageSet(images, truth, tuple(f"c/{i}" for i in range(len(images))))
    surrogate = (threat or Adaptive())(victim, defense or NoDefense())
    seeds = attacker_seeds(0, clean.ids)
    adversarial = attack(surrogate, images, truth, seeds=seeds)
    runner = Runner(torch.device("cpu"), batch_size, TensorCache(path))
    checks = craft_checks(surrogate, attack, clean, adversarial, seeds, runner)
    return checks, flags(checks, attack, quantization=coarsest_quantization(surrogate))


def codes(found: list[Flag]) -> list[str]:
    return [flag.code for flag in found]


def test_a_stand_in_that_leads_astray_is_flagged(tmp_path) -> None:
    attack = PGD(eps="8/255", steps=3)
    checks, found = measured(tmp_path, attack, defense=Opposite())
    assert checks["gradient_cosine"] < 0
    assert "unrelated_gradient" in codes(found)
    checks, found = measured(tmp_path, attack, defense=JPEG())
    assert checks["gradient_cosine"] > 0.3
    assert "unrelated_gradient" not in codes(found)


def test_a_cosine_is_flagged_where_chance_explains_it() -> None:
    attack = PGD(eps="8/255", steps=3)
    for cosine, expected in ((0.19, ["unrelated_gradient"]), (0.21, []), (-0.9, None)):
        found = flags(SOUND | {"gradient_cosine": cosine, "gradient_cosine_error": 0.1}, attack)
        assert codes(found) == (["unrelated_gradient"] if expected is None else expected)


@pytest.mark.slow
def test_the_cosine_is_the_same_for_any_batch_size(tmp_path) -> None:
    attack = FGSM(eps="8/255")
    found = [measured(tmp_path, attack, defense=JPEG(), batch_size=b)[0] for b in (60, 7, 5)]
    assert found[0]["gradient_cosine"] == found[1]["gradient_cosine"] == found[2]["gradient_cosine"]


@pytest.mark.parametrize(
    ("attack", "threat", "defense"),
    [
        (FGSM(eps="8/255"), Oblivious(), JPEG()),
        (FGSM(eps="8/255"), Adaptive(), NoDefense()),
        (Square(eps="8/255", queries=3), Adaptive(), JPEG()),
        (Square(eps="8/255", queries=3), BlackBox(), JPEG()),
        (NoAttack(), Adaptive(), JPEG()),
    ],
    ids=["oblivious", "bare", "queries", "black box", "no attack"],
)
def test_without_a_gradient_of_the_defense_there_is_no_cosine(
    tmp_path, attack, threat, defense
) -> None:
    checks, _ = measured(tmp_path, attack, threat=threat, defense=defense)
    assert "gradient_cosine" not in checks


def test_an_ensemble_that_returns_wrong_images_as_they_are_used_its_budget(tmp_path) -> None:
    labels = clinic().labels.clone()
    labels[:35] = (labels[:35] + 1) % 3  # 35 of 60 are wrong before the attack
    attack = AutoAttack(eps="16/255", steps=5, targets=1, queries=5)
    checks, found = measured(tmp_path, attack, labels=labels)
    assert checks["surrogate_clean"] == pytest.approx(25 / 60)
    assert checks["linf_median"] < 8 / 255 < checks["linf_median_right"]
    assert codes(found) == ["weak_surrogate"]


def test_where_nothing_was_right_no_budget_is_asked_for(tmp_path) -> None:
    labels = (clinic().labels + 1) % 3
    checks, found = measured(tmp_path, AutoAttack(eps="16/255", steps=2), labels=labels)
    assert checks["surrogate_clean"] == 0
    assert "linf_median_right" not in checks
    assert codes(found) == ["weak_surrogate"]


@pytest.mark.parametrize(
    ("aim", "fools"),
    [
        ({}, True),
        ({"loss": CrossEntropy()}, True),
        ({"loss": Stress(taps=["2"])}, False),
        ({"criterion": LossOnly()}, False),
    ],
    ids=["default", "cross-entropy", "stress", "loss only"],
)
def test_who_does_not_aim_at_wrong_answers_need_not_fool(aim, fools) -> None:
    attack = BIM(eps="8/255", steps=3, **aim)
    assert attack.fools is fools
    found = flags(SOUND | {"surrogate_adversarial": 0.89}, attack)
    assert codes(found) == (["surrogate_not_fooled"] if fools else [])


@pytest.mark.parametrize(
    ("defense", "step"),
    [
        (BitDepth(3), 1 / 7),
        (BitClipping(4), 16 / 255),
        (JPEG(), None),
        (NoDefense(), None),
        (KernelDensity(taps=["2"], cushion=BitDepth(4)), 1 / 15),
        (MedRDF(GaussianNoise(0.1), BitDepth(5), copies=3), 1 / 31),
    ],
    ids=["bit depth", "bit clipping", "jpeg", "none", "cushion", "vote"],
)
def test_the_quantization_step_of_a_defense_and_its_parts(defense, step) -> None:
    surrogate = Adaptive()(clinic().victim, defense)
    assert coarsest_quantization(surrogate) == step
    if step is not None:
        assert coarsest_quantization(ReducedPrecision(surrogate)) == step
    assert coarsest_quantization(Oblivious()(clinic().victim, defense)) is None


def test_levels_are_as_far_apart_as_the_step_says() -> None:
    x = torch.linspace(0, 1, 256).view(1, 1, 16, 16)
    for defense in (BitDepth(3), BitClipping(4), BitDepth(8), BitClipping(1)):
        levels = defense.purify(x, seeds=torch.zeros(1, dtype=torch.int64)).unique()
        assert torch.allclose(levels.diff(), torch.tensor(defense.quantization_step), atol=1e-6)


@pytest.mark.parametrize(
    ("attack", "flagged"),
    [
        (PGD(eps="32/255", steps=20), True),  # 4/255
        (PGD(eps="32/255", steps=5), False),  # 16/255
        (PGD(eps="32/255", steps=5, step_size="8.9/255"), True),
        (PGD(eps="32/255", steps=5, step_size="9.2/255"), False),
        (MomentumPGD(eps="32/255", steps=20), False),  # its last steps are short, not its first
        (APGDCE(eps="32/255", steps=20), False),
        (FGSM(eps="4/255"), False),  # a longer step would leave the ball
        (Square(eps="4/255"), False),
    ],
)
def test_steps_that_stay_within_a_level_are_flagged(attack: Attack, flagged: bool) -> None:
    sound = SOUND | {"linf_median": 32 / 255, "linf_max": 32 / 255}
    found = flags(sound, attack, quantization=18 / 255)
    assert codes(found) == ["step_below_quantization"] * flagged
    assert flags(sound, attack) == []
