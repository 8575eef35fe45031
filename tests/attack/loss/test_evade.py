"""Losses that evade a detector: values, signs, gradients, refusals."""

import pytest
import torch
from torch import Tensor

from medrobust.attack.core.ball import norm
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.loss import Loss
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.criterion.undetected import Undetected
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.evade import Evade, EvasionError, room
from medrobust.attack.loss.hfc import HFC
from medrobust.attack.loss.joint import Joint
from medrobust.attack.loss.margin import Margin, lead
from medrobust.attack.loss.rescaled import Rescaled
from medrobust.attack.loss.wb import WB
from medrobust.prediction import Prediction
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from tests.support.guarded import Sum


@pytest.fixture
def seen() -> Prediction:
    logits = torch.tensor([[3.0, 1.0], [0.0, 2.0], [1.0, 9.0]])
    score = torch.tensor([0.5, 4.0, -1.0])
    return Prediction(logits, score=score, threshold=torch.tensor(2.0))


def test_values(seen: Prediction) -> None:
    y = torch.tensor([0, 0, 0])
    assert Evade().away(seen, y).tolist() == [1.5, -2.0, 3.0]
    assert WB(kappa=5).away(seen, y).tolist() == [-2 + 1.5, 2 - 2.0, 5 + 3.0]
    assert WB(kappa=5, weight=2).toward(seen, 1 - y).tolist() == [-2 + 3.0, 2 - 4.0, 5 + 6.0]
    assert Joint().away(seen, y).tolist() == [-2.0, -2.0, 3.0]  # unbound: in their own units
    assert Undetected().away(seen, y).tolist() == [False, False, True]
    assert Misclassified().away(seen, y).tolist() == [False, True, True]
    silent = Prediction(seen.logits, abstain=torch.tensor([False, False, True]))
    assert Undetected().toward(silent, 1 - y).tolist() == [False, True, False]
    with pytest.raises(ValueError, match="threat=adaptive"):
        Undetected().away(Prediction(seen.logits), y)
    assert seen.score is not None
    nan = Prediction(seen.logits, score=seen.score * torch.nan, threshold=seen.threshold)
    assert not Undetected().away(nan, y).any()


@pytest.mark.parametrize("loss", [WB(), Joint(), Evade()])
def test_both_signs_evade(loss: Loss, seen: Prediction) -> None:
    """The printed signs of WB would lower the target's logit and raise the score."""
    target = torch.tensor([1, 1, 0])
    logits, score = seen.logits.clone().requires_grad_(), seen.score.clone().requires_grad_()  # type: ignore[union-attr]
    loss = loss.toward(Prediction(logits, score=score, threshold=seen.threshold), target)
    grads = torch.autograd.grad(loss.sum(), (logits, score), allow_unused=True)
    if grads[0] is not None:
        assert (grads[0].gather(1, target[:, None]) >= 0).all()
    assert grads[1] is not None
    assert (grads[1] <= 0).all()
    assert (grads[1] < 0).any()


def test_who_evades() -> None:
    assert not any(one.evades for one in (CrossEntropy(), Margin(), HFC(), Rescaled()))
    assert all(one.evades for one in (WB(), Joint(), Evade(), HFC(base=WB()), Rescaled(WB())))


def test_what_is_lacking_is_told(seen: Prediction) -> None:
    with pytest.raises(EvasionError, match=r"no detector's score.*set threat=adaptive"):
        room(Prediction(seen.logits))
    with pytest.raises(EvasionError, match="no detector's threshold"):
        room(Prediction(seen.logits, score=seen.score))
    with pytest.raises(ValueError, match=r"attack\.loss\.weight="):
        WB(weight=-1)
    with pytest.raises(ValueError, match=r"loss\.kappa="):
        WB(kappa=-1)


@pytest.fixture
def guarded(row_surrogate: VictimSurrogate) -> tuple[Surrogate, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(5, 3, 6, 5, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, 6, 5, generator=generator, dtype=torch.float64)
    import copy

    victim = copy.deepcopy(row_surrogate.victim).double()
    surrogate = Adaptive()(victim, Sum(weight, 0.3).eval())
    return surrogate, x, victim(x).argmax(1), torch.arange(5)


@pytest.mark.parametrize("loss", [WB(kappa=50), Joint(), Evade()])
def test_gradients_against_finite_differences(
    loss: Loss, guarded: tuple[Surrogate, Tensor, Tensor, Tensor]
) -> None:
    surrogate, x, y, seeds = guarded
    with torch.no_grad():
        bound = loss.bind(surrogate, x, y, seeds, targeted=False)
    goal = Goal(bound, Undetected(), y)
    found = surrogate.value_and_grad(x, goal, seeds=seeds).grad
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    step = 1e-6
    ends = [surrogate.value(x + sign * step * way, goal, seeds=seeds)[0] for sign in (1, -1)]
    slow = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close((found * way).flatten(1).sum(1), slow, rtol=1e-4, atol=1e-7)


def test_joint_is_in_pixel_units(guarded: tuple[Surrogate, Tensor, Tensor, Tensor]) -> None:
    """Neither the scale of the logits nor that of the scores has a say."""
    surrogate, x, y, seeds = guarded
    with torch.no_grad():
        bound = Joint().bind(surrogate, x, y, seeds, targeted=False)
        part = bound.at(torch.tensor([3, 1]))
        now = surrogate(x, seeds)
    for loss in bound.parts:
        goal = Goal(loss, Undetected(), y)
        grad = surrogate.value_and_grad(x, goal, seeds=seeds).grad
        torch.testing.assert_close(norm(grad, 1).flatten(), torch.ones(5, dtype=x.dtype))
    whole = bound.away(now, y)
    assert torch.equal(torch.sign(whole > 0), torch.sign(Joint().away(now, y) > 0))
    some = Prediction(now.logits[[3, 1]], score=now.score[[3, 1]], threshold=now.threshold)  # type: ignore[index]
    assert torch.equal(part.away(some, y[[3, 1]]), whole[[3, 1]])
    assert (lead(now.logits, y) >= 0).all()


def test_several_goals_share_a_forward_pass(
    guarded: tuple[Surrogate, Tensor, Tensor, Tensor],
) -> None:
    surrogate, x, y, seeds = guarded
    goals = [Goal(one, Undetected(), y) for one in (WB(), Evade(), CrossEntropy())]
    passes: list[int] = []
    handle = surrogate.victim.register_forward_pre_hook(lambda *_: passes.append(1))  # type: ignore[operator,union-attr]
    found = surrogate.values_and_grads(x, goals, seeds=seeds)
    handle.remove()
    assert len(passes) == 1
    for goal, seen in zip(goals, found, strict=True):
        for ours, alone in zip(seen, surrogate.value_and_grad(x, goal, seeds=seeds), strict=True):
            assert torch.equal(ours, alone)


def test_noise_is_averaged_score_included(row_surrogate: VictimSurrogate) -> None:
    x = torch.rand(4, 3, 6, 5, generator=torch.Generator().manual_seed(2))
    loud = Sum(torch.zeros(3, 6, 5), 0.0, noise=1.0).eval()
    surrogate = Adaptive(eot_samples=400, chunk=64)(row_surrogate.victim, loud)
    y, seeds = row_surrogate.victim(x).argmax(1), torch.arange(4)
    seen = surrogate(x, seeds)
    assert seen.score is not None
    assert (seen.score.abs() < 0.25).all()
    assert seen.threshold == 0
    goals = [Goal(WB(), Undetected(), y), Goal(Evade(), Undetected(), y)]
    both = surrogate.values_and_grads(x, goals, seeds=seeds)
    torch.testing.assert_close(both[1].loss, -seen.score, atol=1e-5, rtol=1e-4)
    loss, reached = surrogate.value(x, goals[1], seeds=seeds)
    torch.testing.assert_close(loss, both[1].loss)
    assert torch.equal(reached, both[1].reached)
    torch.testing.assert_close(
        surrogate(x, seeds).logits, row_surrogate.victim(x).log_softmax(1), atol=1e-5, rtol=1e-4
    )


def test_reduced_precision_takes_both_gradients(victim, images, labels, seeds) -> None:  # type: ignore[no-untyped-def]
    import copy

    fast = copy.deepcopy(victim).accelerate()
    surrogate = Adaptive()(fast, Sum(torch.ones(3, 12, 12) / 400, 0.5).eval())
    goals = [Goal(one, Undetected(), labels[:8]) for one in (Margin(), Evade())]
    exact = surrogate.values_and_grads(images[:8], goals, seeds=seeds[:8])
    rough = ReducedPrecision(surrogate).values_and_grads(images[:8], goals, seeds=seeds[:8])
    for one, other in zip(exact, rough, strict=True):
        alike = torch.cosine_similarity(one.grad.flatten(1), other.grad.flatten(1))
        assert (alike > 0.98).all()
