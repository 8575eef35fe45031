"""The shared loop, and the optimum that is known in closed form on a linear model."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.goal import Goal
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.fgsm import FGSM
from medrobust.attack.mim import MIM
from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.prediction import Prediction
from medrobust.rng import fold_in, sample_seeds
from medrobust.threat.surrogate import Gradient, Surrogate, VictimSurrogate

Wrap = Callable[..., VictimSurrogate]


@pytest.fixture(scope="module")
def linear(wrap: Wrap) -> tuple[VictimSurrogate, Tensor, Tensor]:
    """Two-class linear model in float64; its weights in pixel units; images far from 0 and 1."""
    layer = nn.Linear(48, 2)
    generator = torch.Generator().manual_seed(0)
    layer.weight.data = torch.randn(2, 48, generator=generator)
    surrogate = wrap(nn.Sequential(nn.Flatten(), layer)).double()
    weight = (layer.weight[1] - layer.weight[0]) / 0.25
    x = 0.3 + 0.4 * torch.rand(20, 3, 4, 4, generator=generator, dtype=torch.float64)
    return surrogate, weight.detach(), x


@pytest.mark.parametrize(
    ("attack", "dual"),
    [
        (FGSM(0.05), 1),
        (BIM(0.05, steps=7), 1),
        (MIM(0.05, steps=7), 1),
        (PGD(0.05, steps=10), 1),
        (PGD(0.05, steps=10, restarts=3), 1),
        (CWLinf(0.05, steps=10, kappa=1e6), 1),
        (PGDL2(0.2, steps=40, step_size=0.2), 2),
    ],
    ids=["fgsm", "bim", "mim", "pgd", "pgd_restarts", "cw_linf", "pgd_l2"],
)
def test_linear_optimum(
    attack: Attack, dual: int, linear: tuple[VictimSurrogate, Tensor, Tensor]
) -> None:
    """The margin can fall by eps * ||w||_1 in L∞, by eps * ||w||_2 in L2, and it does."""
    surrogate, weight, x = linear
    y = surrogate.victim(x).argmax(1)
    found = attack(surrogate, x, y, seeds=sample_seeds(0, [str(i) for i in range(20)]))
    toward_one = ((found - x).flatten(1) @ weight) * (1 - 2 * y)
    assert attack.eps is not None
    best = attack.eps * torch.linalg.vector_norm(weight, dual)
    torch.testing.assert_close(toward_one, best.expand(20), rtol=1e-6, atol=0)


def test_default_l2_steps_come_near(linear: tuple[VictimSurrogate, Tensor, Tensor]) -> None:
    surrogate, weight, x = linear
    y = surrogate.victim(x).argmax(1)
    found = PGDL2(0.2, steps=20)(surrogate, x, y, seeds=torch.arange(20))
    gain = ((found - x).flatten(1) @ weight) * (1 - 2 * y) / (0.2 * weight.norm())
    assert gain.mean() > 0.97


class Log(Surrogate):
    """A surrogate with a chosen loss per look, that writes down what it was asked."""

    def __init__(self, losses: list[float], reached: list[bool] | None = None) -> None:
        super().__init__()
        self.losses = losses
        self.hits = reached or [False] * len(losses)
        self.seeds: list[Tensor] = []
        self.points: list[Tensor] = []

    @property
    def fingerprint(self) -> str:
        return "log"

    def forward(self, x: Tensor, seeds: Tensor, taps: Sequence[str] = ()) -> Prediction:
        look = len(self.points)
        self.points.append(x.clone())
        self.seeds.append(seeds)
        own = torch.full((len(x),), -self.losses[look])  # cross-entropy grows as it falls
        label = torch.full((len(x),), 1.0 if self.hits[look] else -40.0)
        return Prediction(torch.stack([own, label + own, own - 0.5], 1))

    def _value_and_grad(self, x: Tensor, goal: Goal, *, seeds: Tensor) -> Gradient:
        prediction = self(x, seeds)
        loss = torch.full((len(x),), self.losses[len(self.points) - 1])
        return Gradient(loss, torch.ones_like(x), goal.reached(prediction))


def run(attack: Attack, log: Log, count: int = 2) -> Tensor:
    x, y = torch.full((count, 1, 2, 2), 0.5), torch.zeros(count, dtype=torch.int64)
    return attack(log, x, y, seeds=torch.arange(count))


def test_returns_the_best_point_that_was_stepped_to() -> None:
    log = Log([9.0, 1.0, 3.0, 2.0, -50.0])  # the start is best, but no candidate
    found = run(BIM(0.4, steps=4), log)
    torch.testing.assert_close(found, torch.full_like(found, 0.7))


def test_a_reached_point_beats_a_higher_loss() -> None:
    log = Log([0.0, 1.0, 9.0, 2.0, 0.0], [False, True, False, False, False])
    found = run(BIM(0.4, steps=4), log)
    torch.testing.assert_close(found, torch.full_like(found, 0.6))


def test_the_last_point_is_looked_at_once_and_without_gradient() -> None:
    log = Log([0.0] * 5)
    run(BIM(0.4, steps=4), log)
    assert len(log.points) == 5
    torch.testing.assert_close(log.points[-1], torch.full_like(log.points[-1], 0.9))


def test_every_look_has_its_own_seeds() -> None:
    log = Log([0.0] * 10)
    run(PGD(0.4, steps=4, restarts=2), log)
    assert len(set(torch.cat(log.seeds).tolist())) == 20
    start = fold_in(torch.arange(2), 1)
    assert torch.equal(log.seeds[7], fold_in(start, 2))


def test_restarts_start_elsewhere() -> None:
    log = Log([0.0] * 4)
    run(PGD(0.4, steps=1, restarts=2), log)
    assert not torch.equal(log.points[0], log.points[2])


def test_early_stop_ends_when_all_are_done() -> None:
    log = Log([0.0] * 30, [False, False, True] + [False] * 27)
    found = run(PGD(0.4, steps=9, step_size=0.01, restarts=3, early_stop=True), log)
    assert len(log.points) == 3
    assert torch.equal(found, log.points[2])


def test_early_stop_does_not_look_at_the_start() -> None:
    """The start is no candidate, so an image that is wrong already takes one step too."""
    log = Log([0.0] * 3, [True, True, True])
    found = run(BIM(0.4, steps=2, early_stop=True), log)
    torch.testing.assert_close(found, torch.full_like(found, 0.7))


def test_nan_loss_is_an_error(wrap: Wrap) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :2] / x.flatten(1)[:, :1].sub(0.5).clamp(min=0)

    x = torch.full((2, 3, 2, 2), 0.7)
    x[1] = 0.4
    with pytest.raises(AttackError, match=r"loss is NaN for images \[1\]"):
        BIM(0.01, steps=2)(wrap(Broken()), x, torch.zeros(2).long(), seeds=torch.arange(2))


def test_random_start_needs_a_restart() -> None:
    with pytest.raises(ValueError, match=r"attack\.restarts=0"):
        PGD(0.1, steps=1, restarts=0)
