from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from medrobust.attack.apgd import APGD, Walk, checkpoints
from medrobust.attack.apgd_ce import APGDCE
from medrobust.attack.apgd_dlr import APGDDLR
from medrobust.attack.apgd_t import APGDT
from medrobust.attack.core.base import AttackError
from medrobust.attack.core.goal import Goal
from medrobust.attack.loss.rescaled import Rescaled
from medrobust.attack.pgd import PGD
from medrobust.model.core.victim import Victim
from medrobust.threat.surrogate import Gradient, VictimSurrogate
from tests.support.apgd_peer import Logged, fragile, standing

CONF = Path(__file__).parents[2] / "conf"
EPS = 4 / 255


def test_checkpoints_of_the_paper() -> None:
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(checkpoints(100).values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert list(checkpoints(10)) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert checkpoints(1) == {}


def test_step_sizes_by_hand() -> None:
    """Three images, two windows; the numbers 0, 1, 2, ... are points, gradients are 10 times."""
    log = torch.tensor(
        [
            [1.0, 2, 3, 4, 5, 0, 1, 2, 3, 4],  # rises 4 of 4: keeps; 4 of 5 but no new best: halves
            [1.0, 2, 3, 4, 4, 0, 1, 2, 3, 3.5],  # 3 of 4: halves; 4 of 5 and was halved: keeps
            [5.0, 4, 3, 6, 2, 9, 10, 11, 12, 13],  # 1 of 4: halves; 5 of 5, new best: keeps
        ]
    )
    at = iter(range(log.shape[1]))

    def look(walk: Walk) -> Walk:
        step = next(at)
        walk = walk.moved(torch.full((3, 1, 1, 1), float(step)))
        return walk.seen(10 * walk.point, log[:, step])

    walk = Walk.start(torch.zeros(3, 1, 1, 1), 8.0)
    for _ in range(5):  # the start and four steps
        walk = look(walk)
    walk = walk.reviewed(4, 0.75)
    assert walk.size.flatten().tolist() == [8, 4, 4]
    assert walk.point.flatten().tolist() == [4, 3, 3]  # back to the best, the first of equals
    assert walk.grad.flatten().tolist() == [40, 30, 30]
    for _ in range(5):
        walk = look(walk)
    walk = walk.reviewed(5, 0.75)
    assert walk.size.flatten().tolist() == [4, 4, 4]
    assert walk.point.flatten().tolist() == [4, 9, 9]
    assert walk.peak_loss.tolist() == [5, 4, 13]
    assert walk.at(torch.tensor([2, 0])).peak_loss.tolist() == [13, 5]


class Line(nn.Module):
    """Logits (f(pixel), 0)."""

    def __init__(self, rule: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, x: Tensor) -> Tensor:
        value = self.rule(x.flatten(1))
        return torch.cat([value, torch.zeros_like(value)], dim=1)


def on_line(rule: Callable[[Tensor], Tensor]) -> Logged:
    return Logged(Victim(Line(rule), mean=[0.0], std=[1.0], architecture={}).freeze())


def test_momentum_by_hand() -> None:
    """x + 0.75 (z - x) + 0.25 (x - x_before), the first step whole."""
    surrogate = on_line(lambda x: x)
    x, y = torch.full((1, 1, 1, 1), 0.5), torch.tensor([1])
    attack = APGD(0.4, steps=4, step_size=0.04, rho=0.0)
    attack(surrogate, x, y, seeds=torch.tensor([4]))
    start, one, two, three, four = surrogate.seen
    assert start < 0.7  # far from the edge of the ball
    moves = [one - start, two - one, three - two, four - three]
    expected = [0.04]
    for _ in range(3):
        expected.append(0.75 * 0.04 + 0.25 * expected[-1])
    assert moves == pytest.approx(expected, abs=1e-6)


def test_the_start_is_a_candidate() -> None:
    """Only points nearer than 0.9 eps are fooled, and a step of 2 eps ends at eps."""
    surrogate = on_line(lambda x: 30 * (0.36 - (x - 0.5).abs()))
    x, y = torch.full((1, 1, 1, 1), 0.5), torch.tensor([1])
    found = APGD(0.4, steps=1)(surrogate, x, y, seeds=torch.tensor([1]))
    assert abs(surrogate.seen[0] - 0.5) < 0.36
    assert abs(surrogate.seen[1] - 0.5) > 0.39
    assert float(found) == surrogate.seen[0]


def test_default_first_step_is_twice_the_radius() -> None:
    assert APGD("8/255", steps=1).step_size == pytest.approx(16 / 255)
    assert APGD(2.0, steps=1, norm="l2").step_size == 4.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "l1"}, r"attack\.norm='l1', expected linf or l2"),
        ({"rho": 1.5}, r"attack\.rho="),
        ({"momentum": 0}, r"attack\.momentum="),
        ({"eps": 2.0}, r"attack\.eps="),
        ({"restarts": 0}, r"attack\.restarts="),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        APGD(**({"eps": EPS, "steps": 5} | settings))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_early_stop_fools_the_same_images_for_less(norm: str) -> None:
    surrogate, x, y, seeds = fragile(5)
    eps = EPS if norm == "linf" else 0.15
    passes: list[int] = []
    surrogate.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    whole = APGD(eps, steps=20, norm=norm)(surrogate, x, y, seeds=seeds)
    assert sum(passes) == 21 * len(x)
    passes.clear()
    early = APGD(eps, steps=20, norm=norm, early_stop=True)(surrogate, x, y, seeds=seeds)
    left = standing(surrogate, whole, y)
    assert torch.equal(left, standing(surrogate, early, y))
    assert 10 < left.sum() < 60
    assert sum(passes) < 2 * len(x) + 21 * left.sum()


class Guessing(VictimSurrogate):
    """Like one in reduced precision: its gradient passes claim that everything is fooled."""

    exact = False

    def _value_and_grad(self, x: Tensor, goal: Goal, *, seeds: Tensor) -> Gradient:
        seen = super()._value_and_grad(x, goal, seeds=seeds)
        return seen._replace(reached=torch.ones_like(seen.reached))


@pytest.mark.parametrize("early", [False, True])
def test_a_guess_of_success_is_checked(early: bool) -> None:
    exact, x, y, seeds = fragile(5)
    attack = APGD(EPS, steps=10, early_stop=early)
    left = standing(exact, attack(exact, x, y, seeds=seeds), y)
    found = attack(Guessing(exact.victim), x, y, seeds=seeds)
    assert standing(exact, found, y).sum() <= left.sum() + 1


def test_a_random_surrogate_gets_fresh_noise_at_each_look() -> None:
    exact, x, y, seeds = fragile(3)
    surrogate = Logged(exact.victim)
    APGD(EPS, steps=6, restarts=2)(surrogate, x, y, seeds=seeds)
    assert len(surrogate.noise) == len(set(surrogate.noise)) == 2 * 7


def test_a_loss_that_is_no_number_is_an_error() -> None:
    surrogate = on_line(lambda x: x / 0 * 0)
    x, y, seeds = torch.full((1, 1, 1, 1), 0.5), torch.tensor([1]), torch.arange(1)
    with pytest.raises(AttackError, match=r"loss is NaN for images \[0\]"):
        APGD(0.1, steps=2)(surrogate, x, y, seeds=seeds)


def test_saturated_logits_need_another_loss() -> None:
    """Times 1e4 the softmax is 0 or 1 in float32 and cross-entropy has no gradient left."""
    clean, x, y, seeds = fragile(3)
    saturated = fragile(3, scale=1e4)[0]
    attacks = {
        "clean": APGD(EPS, steps=30),
        "ce": APGDCE(EPS, steps=30),
        "pgd": PGD(EPS, steps=30),
        "dlr": APGDDLR(EPS, steps=30),
        "t": APGDT(EPS, steps=30),
        "rescaled": APGD(EPS, steps=30, loss=Rescaled()),
        "pgd_rescaled": PGD(EPS, steps=30, loss=Rescaled()),
    }
    left = {
        name: int(
            standing(
                clean, attack(clean if name == "clean" else saturated, x, y, seeds=seeds), y
            ).sum()
        )
        for name, attack in attacks.items()
    }
    assert left["clean"] < 80
    assert left["ce"] > 90
    assert left["pgd"] > 90
    for name in ("dlr", "t", "rescaled", "pgd_rescaled"):
        assert left[name] <= left["clean"] + 2, name


@pytest.mark.parametrize("name", ["apgd", "apgd_ce", "apgd_dlr", "apgd_t"])
def test_config(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        attack = instantiate(compose(overrides=[f"+attack={name}", "attack.eps=2/255"]).attack)
        rescaled = instantiate(compose(overrides=["+attack=pgd", "attack/loss=rescaled"]).attack)
    assert type(attack).__module__ == f"medrobust.attack.{name}"
    assert attack.fingerprint == type(attack)("2/255", steps=100).fingerprint
    assert isinstance(rescaled.loss, Rescaled)
