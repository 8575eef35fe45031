import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medrobust.model.core.victim import Victim
from medrobust.number import NumberError
from medrobust.objective.mart import MART, boosted_cross_entropy


def table(clean: Tensor, attacked: Tensor):
    """A network that knows two images only: 0 and 1."""
    return lambda x: torch.where(x.flatten(1).mean(1, keepdim=True) < 0.5, clean, attacked)


def logs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


X0, X1 = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
Y = torch.tensor([0, 2])
P = [[0.5, 0.3, 0.2], [0.1, 0.6, 0.3]]  # clean; the second is misclassified
Q = [[0.2, 0.7, 0.1], [0.25, 0.15, 0.6]]  # attacked; the first is misclassified


@pytest.mark.parametrize("beta", [0.0, 5.0, 6.0])
def test_the_loss_on_probabilities_made_by_hand(beta: float) -> None:
    boosted = (-math.log(0.2) - math.log(1 - 0.7) - math.log(0.6) - math.log(1 - 0.25)) / 2
    terms = [
        sum(p * math.log(p / q) for p, q in zip(clean, attacked, strict=True))
        for clean, attacked in zip(P, Q, strict=True)
    ]
    weighted = (terms[0] * (1 - 0.5) + terms[1] * (1 - 0.3)) / 2
    loss = MART(beta=beta).outer(table(logs(*P), logs(*Q)), X0, X1, Y)
    assert loss.item() == pytest.approx(boosted + beta * weighted, rel=1e-6)


def test_the_margin_term_is_of_the_strongest_other_class() -> None:
    rng = np.random.default_rng(0)
    logits, y = rng.normal(0, 3, (50, 6)), rng.integers(6, size=50)
    q = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    others = np.where(np.arange(6) == y[:, None], 0, q).max(1)
    expected = (-np.log(q[np.arange(50), y]) - np.log(1 - others)).mean()
    found = boosted_cross_entropy(torch.tensor(logits).log_softmax(1), torch.tensor(y))
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_very_sure_answers_stay_finite() -> None:
    sure = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    loss = boosted_cross_entropy(sure.log_softmax(1), torch.tensor([0, 0]))
    # First: 0 + 0. Second: 200 for the true class, 200 - log 2 for what the rival leaves.
    assert loss.item() == pytest.approx((400 - math.log(2)) / 2)
    loss.backward()
    assert sure.grad.isfinite().all()
    assert sure.grad[1, 1] > 0


def test_an_image_that_is_known_weighs_less() -> None:
    objective = MART(beta=5.0)

    def divergence_part(known: float) -> float:
        clean = logs([known, 1 - known])
        moved = logs([known / 2, 1 - known / 2])
        x, y = torch.zeros(1, 1, 2, 2), torch.tensor([0])
        both = objective.outer(table(clean, moved), x, x + 1, y)
        kl = known * math.log(2) + (1 - known) * math.log((1 - known) / (1 - known / 2))
        plain = boosted_cross_entropy(moved, y)
        return ((both - plain) / 5 / kl).item()

    assert divergence_part(0.9) == pytest.approx(0.1, rel=1e-6)
    assert divergence_part(0.2) == pytest.approx(0.8, rel=1e-6)


def test_equal_to_the_formula_written_out() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Linear(216, 4)
    )
    victim = Victim(net, mean=[0.5] * 3, std=[0.25] * 3, architecture={}).train()
    x, y, seeds = torch.rand(9, 3, 8, 8), torch.arange(9) % 4, torch.arange(9)
    objective, rows = MART(), torch.arange(9)
    crafted = objective.craft(victim, x, y, seeds=seeds)
    found = objective.loss(victim, x, y, seeds=seeds)
    p, q = victim(x).double().softmax(1), victim(crafted).double().softmax(1)
    rival = q.clone()
    rival[rows, y] = 0
    boosted = -q[rows, y].log() - (1 - rival.max(1).values).log()
    expected = (boosted + 5 * (p * (p / q).log()).sum(1) * (1 - p[rows, y])).mean()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    weights = list(victim.parameters())
    for ours, theirs in zip(
        torch.autograd.grad(found, weights), torch.autograd.grad(expected, weights), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(NumberError, match=r"objective\.beta=-1"):
        MART(beta=-1)
