"""What SPSA and NES share: the estimate, where they ask, and what a budget buys."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.core.ball import LinfBall
from medrobust.attack.core.base import AttackError
from medrobust.attack.core.best import Best
from medrobust.attack.core.estimated import Estimated
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.norm import distance
from medrobust.attack.core.query import Oracle
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.margin import Margin
from medrobust.attack.nes import NES
from medrobust.attack.spsa import SPSA
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import VictimSurrogate

Make = Callable[..., Estimated]
Wrap = Callable[..., VictimSurrogate]
EPS = 4 / 255

both = pytest.mark.parametrize("make", [SPSA, NES])


class Line(nn.Module):
    """Logits +-(w . x) / 2, so that the margin's gradient is w on the network's inputs."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(size, generator=torch.Generator().manual_seed(1)))

    def forward(self, x: Tensor) -> Tensor:
        half = (x.flatten(1) * self.weight).sum(1) / 2
        return torch.stack([-half, half], 1)


def estimate(attack: Estimated, surrogate: VictimSurrogate, x: Tensor) -> Tensor:
    y, seeds = (
        torch.zeros(len(x), dtype=torch.int64),
        sample_seeds(0, [str(i) for i in range(len(x))]),
    )
    goal = Goal(Margin(kappa=1e9), Misclassified(), y)
    oracle = Oracle(surrogate, x, goal, seeds, budget=10**6, chunk=512)
    ball, rows = LinfBall(x, attack.eps), torch.arange(len(x))
    return attack.estimate(oracle, Best(x), rows, ball, ball.centre, seeds)


@both
def test_estimate_of_a_linear_loss_nears_its_gradient(make: Make, wrap: Wrap) -> None:
    """The cosine of a mean of P random directions in D numbers is about sqrt(P / (P + D))."""
    surrogate, size = wrap(Line(3 * 6 * 8)), 144
    x = torch.full((8, 3, 6, 8), 0.5) + 0.1 * torch.arange(8).view(8, 1, 1, 1) / 8
    weight = surrogate.victim.network.weight.view(x.shape[1:])
    for samples in (9, 72, 576):
        found = estimate(make(0.1, steps=1, samples=samples), surrogate, x)
        cosine = torch.cosine_similarity(found.flatten(1), weight.flatten()[None])
        expected = (samples / (samples + size)) ** 0.5
        assert cosine.mean() == pytest.approx(expected, abs=0.06), samples


@both
def test_cut_probes_bias_nothing(make: Make, wrap: Wrap) -> None:
    """Half of the numbers are black: their pairs are cut to one side."""
    surrogate = wrap(Line(3 * 6 * 8))
    x = torch.full((8, 3, 6, 8), 0.5)
    x[:, :, :3] = 0.0
    slope = surrogate.victim.network.weight.view(x.shape[1:]) / 0.25  # the victim's std
    found = estimate(make(0.1, steps=1, samples=1500), surrogate, x).mean(0)
    for rows in (slice(0, 3), slice(3, 6)):
        got, true = found[:, rows], slope[:, rows]
        assert (got * true).sum() / (true * true).sum() == pytest.approx(1, abs=0.05)


@both
def test_no_question_leaves_the_ball_or_the_image_range(
    make: Make, victim: Victim, images: Tensor, labels: Tensor
) -> None:
    asked: list[Tensor] = []
    handle = victim.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0].clone()))
    x = images[:1].clone()
    x[..., :4], x[..., 4:6] = 0.0, 1.0
    y = victim(x).argmax(1)
    asked.clear()
    made = make(EPS, steps=3, samples=20).craft(
        VictimSurrogate(victim), x, y, seeds=torch.tensor([5])
    )
    handle.remove()
    every = torch.cat(asked)
    assert made.queries is not None
    assert len(every) == made.queries.item() > 40
    assert every.amin() >= 0
    assert every.amax() <= 1
    assert distance(x.expand_as(every), every, "linf").max() <= EPS


@both
def test_an_image_has_its_own_directions(make: Make, surrogate: VictimSurrogate) -> None:
    """One image twice, under two seeds: the same clean answer, other questions."""
    x = torch.full((2, 3, 12, 12), 0.5)
    y = surrogate.victim(x).argmax(1)
    found = make(EPS, steps=1, samples=2)(surrogate, x, y, seeds=torch.tensor([1, 2]))
    assert (found[0] != found[1]).float().mean() > 0.2


@both
def test_chunk_and_batch_change_no_bit(
    make: Make, row_surrogate: VictimSurrogate, seeds: Tensor
) -> None:
    x = torch.rand(11, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    y, seeds = row_surrogate.victim(x).argmax(1), seeds[:11]
    whole = make(3 * EPS, steps=6, samples=6).craft(row_surrogate, x, y, seeds=seeds)
    small = make(3 * EPS, steps=6, samples=6, chunk=5)
    parts = [
        small.craft(row_surrogate, x[i : i + 3], y[i : i + 3], seeds=seeds[i : i + 3])
        for i in range(0, 11, 3)
    ]
    assert whole.queries is not None
    assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
    assert whole.queries.tolist() == [
        count for part in parts if part.queries is not None for count in part.queries.tolist()
    ]
    assert len(whole.queries.unique()) > 1  # images left at different times


@pytest.mark.by_default("NES")
@both
def test_more_queries_lose_no_image_and_every_query_is_counted(
    make: Make, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, seeds = images[:60], labels[:60], seeds[:60]
    surrogate = BlackBox()(victim, NoDefense())
    asked: list[int] = []
    handle = victim.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
    fooled = []
    for queries in (50, 150, 600):  # of 641 that all steps would cost
        asked.clear()
        attack = make(2 * EPS, steps=20, samples=16, queries=queries)
        made = attack.craft(surrogate, x, y, seeds=seeds)
        assert made.queries is not None
        assert sum(asked) == made.queries.sum()
        assert made.queries.max() <= queries
        assert made.queries.max() > queries - 33  # no whole step was left over
        fooled.append(victim(made.images).argmax(1) != y)
    handle.remove()
    assert not (fooled[0] & ~fooled[1]).any()
    assert not (fooled[1] & ~fooled[2]).any()
    assert fooled[0].sum() < fooled[1].sum() < fooled[2].sum()


@pytest.mark.by_default("SPSA")
@both
def test_more_samples_and_steps_are_stronger(
    make: Make, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, seeds = images[:60], labels[:60], seeds[:60]
    left = [
        int((surrogate.victim(attack(surrogate, x, y, seeds=seeds)).argmax(1) == y).sum())
        for attack in (
            make(2 * EPS, steps=3, samples=4),
            make(2 * EPS, steps=12, samples=4),
            make(2 * EPS, steps=12, samples=24),
        )
    ]
    assert left[0] > left[1] > left[2]


@both
def test_bad_settings_are_refused(make: Make) -> None:
    for key, value in (("samples", 0), ("steps", 0), ("queries", 0), ("queries", 8), ("chunk", 0)):
        with pytest.raises(ValueError, match=rf"attack\.{key}={value}"):
            make(EPS, **{"steps": 2, "samples": 4, key: value})
    assert make(EPS, steps=2, samples=4, queries=10).queries == 10
    assert make(EPS, steps=2, samples=4).queries == 19


@both
def test_an_undefined_loss_is_an_error(make: Make, wrap: Wrap) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            answer = torch.stack([x.mean((1, 2, 3)), torch.zeros(len(x))], 1)
            return answer.masked_fill(x.flatten(1).sum(1, keepdim=True) % 2 < 1, torch.nan)

    x, y = torch.full((2, 3, 4, 4), 0.9), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(AttackError, match=r"the loss is NaN for images \[0, 1\]"):
        make(EPS, steps=1, samples=8)(wrap(Broken()), x, y, seeds=torch.arange(2))
