import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from medrobust.model.core.victim import Victim
from medrobust.number import NumberError
from medrobust.objective.core.inner import Divergence, NearPGD, divergence
from medrobust.objective.standard import Standard
from medrobust.objective.trades import TRADES
from medrobust.prediction import Prediction
from medrobust.threat.surrogate import VictimSurrogate


def table(clean: Tensor, attacked: Tensor):
    """A network that knows two images only: 0 and 1."""
    return lambda x: torch.where(x.flatten(1).mean(1, keepdim=True) < 0.5, clean, attacked)


CLEAN = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])  # p = 1/4 3/4, 4/5 1/5
MOVED = torch.tensor([[0.0, 0.0], [0.0, math.log(4.0)]])  # q = 1/2 1/2, 1/5 4/5
X0, X1, Y = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2), torch.tensor([1, 0])


@pytest.mark.parametrize("beta", [0.0, 1.0, 6.0])
def test_the_loss_on_logits_made_by_hand(beta: float) -> None:
    natural = (-math.log(3 / 4) - math.log(4 / 5)) / 2
    first = 1 / 4 * math.log(1 / 2) + 3 / 4 * math.log(3 / 2)  # Σ p log(p / q)
    second = 4 / 5 * math.log(4) + 1 / 5 * math.log(1 / 4)
    expected = natural + beta * (first + second) / 2
    loss = TRADES(beta=beta).outer(table(CLEAN, MOVED), X0, X1, Y)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def small() -> Victim:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Linear(216, 4)
    )
    return Victim(net, mean=[0.5] * 3, std=[0.25] * 3, architecture={}).train()


X = torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(2))
LABELS, SEEDS = torch.arange(10) % 4, torch.arange(10)


def test_without_the_divergence_it_is_standard_training() -> None:
    ours = TRADES(beta=0).loss(small(), X, LABELS, seeds=SEEDS)
    standard = Standard().loss(small(), X, LABELS, seeds=SEEDS)
    assert torch.equal(ours, standard)


def test_equal_to_the_formula_written_out() -> None:
    victim, objective = small(), TRADES(beta=6.0)
    crafted = objective.craft(victim, X, LABELS, seeds=SEEDS)
    weights = list(victim.parameters())
    found = objective.loss(victim, X, LABELS, seeds=SEEDS)
    p, q = victim(X).double().softmax(1), victim(crafted).double().softmax(1)
    natural = -p[torch.arange(10), LABELS].log().mean()
    expected = natural + 6 * (p * (p / q).log()).sum(1).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(
        torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_attack_starts_beside_the_image() -> None:
    # With steps too small to matter, what is left is the start: 0.001 N(0, 1).
    attack = NearPGD("8/255", step_size=1e-9, steps=1)
    x = torch.full((4, 3, 40, 40), 0.5)
    start = attack(VictimSurrogate(flat()), x, torch.zeros(4, dtype=torch.int64), seeds=SEEDS[:4])
    noise = (start - x) / 0.001
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    assert noise.mean() == pytest.approx(0.0, abs=0.02)
    assert noise.abs().max() < 6


def flat() -> Victim:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    return Victim(net, mean=[0.5] * 3, std=[0.5] * 3, architecture={}).freeze()


def test_a_plain_sign_ascent_of_the_divergence_gets_no_further() -> None:
    victim, objective = small(), TRADES()
    crafted = objective.craft(victim, X, LABELS, seeds=SEEDS)
    victim.eval()
    clean = victim(X).log_softmax(1).detach()
    torch.manual_seed(0)
    point = X + 0.001 * torch.randn_like(X)
    for _ in range(10):
        point.requires_grad_()
        moved = (clean.exp() * (clean - victim(point).log_softmax(1))).sum()
        (slope,) = torch.autograd.grad(moved, point)
        point = point.detach() + 2 / 255 * slope.sign()
        point = torch.min(torch.max(point, X - 8 / 255), X + 8 / 255).clamp(0, 1)
    reached = [
        (clean.exp() * (clean - victim(images).log_softmax(1))).sum(1).mean().item()
        for images in (crafted, point)
    ]
    assert reached[0] == pytest.approx(reached[1], rel=0.1)
    assert reached[0] > 0.9 * reached[1]


def test_the_inner_loss_is_the_divergence_of_each_image() -> None:
    surrogate = VictimSurrogate(small().freeze())
    bound = Divergence().bind(surrogate, X, LABELS, SEEDS, targeted=False)
    other = Prediction(surrogate.victim(1 - X))
    p, q = surrogate.victim(X).softmax(1), other.logits.softmax(1)
    expected = (p * (p / q).log()).sum(1)
    torch.testing.assert_close(bound.away(other, LABELS), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(bound.toward(other, LABELS), -expected, rtol=1e-4, atol=1e-6)
    some = torch.tensor([7, 2])
    part = bound.at(some).away(Prediction(other.logits[some]), LABELS[some])
    torch.testing.assert_close(part, expected[some], rtol=1e-4, atol=1e-6)
    with pytest.raises(RuntimeError, match="bind it to a batch"):
        Divergence().away(other, LABELS)


def test_the_divergence_is_that_of_the_library() -> None:
    p, q = torch.randn(5, 4), torch.randn(5, 4)
    library = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=q)
    )
    torch.testing.assert_close(divergence(p.log_softmax(1), q.log_softmax(1)), library)


def test_very_sure_answers_stay_finite() -> None:
    sure = torch.tensor([[1e4, -1e4], [0.0, 0.0]], requires_grad=True)
    loss = TRADES().outer(table(sure, -sure), X0, X1, Y)
    loss.backward()
    assert loss.isfinite()
    assert sure.grad.isfinite().all()


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(NumberError, match=r"objective\.beta=-1"):
        TRADES(beta=-1)


def test_cross_entropy_is_untouched_by_the_attack() -> None:
    assert TRADES(beta=0).outer(table(CLEAN, MOVED), X0, X1, Y) == cross_entropy(CLEAN, Y)
