"""The loss of a vote's mean answer: its gradient, whatever the chunk."""

import math

import pytest
import torch

from medrobust.attack.core.goal import Goal
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.margin import Margin
from medrobust.defense.median import Median
from medrobust.defense.randomized_smoothing import RandomizedSmoothing
from medrobust.rng import fold_in, sample_seeds
from medrobust.threat.adaptive import Adaptive
from tests.support.helpers import small_cnn

N, DRAWS = 6, 5
X = torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(5))
Y = torch.arange(N) % 4
SEEDS = sample_seeds(0, [str(i) for i in range(N)])
GOAL = Goal(CrossEntropy(), Misclassified(), Y)
SMOOTH = RandomizedSmoothing(0.4, 10)


@pytest.mark.parametrize("chunk", [1, 7, 13, 512])
def test_gradient_is_that_of_the_log_of_the_mean_softmax(chunk):
    victim = small_cnn()
    surrogate = Adaptive(DRAWS, eot="probability", chunk=chunk)(victim, SMOOTH)
    x = X.clone().requires_grad_()
    draws = [victim(SMOOTH.sample(x, seeds=fold_in(SEEDS, k))).softmax(1) for k in range(DRAWS)]
    loss = -torch.stack(draws).mean(0).gather(1, Y[:, None])[:, 0].log()
    (grad,) = torch.autograd.grad(loss.sum(), x)
    found = surrogate.value_and_grad(X, GOAL, seeds=SEEDS)
    torch.testing.assert_close(found.loss, loss.detach())
    torch.testing.assert_close(found.grad, grad, rtol=1e-4, atol=1e-7)
    value, reached = surrogate.value(X, GOAL, seeds=SEEDS)
    torch.testing.assert_close(value, found.loss)
    assert torch.equal(reached, found.reached)
    both = surrogate.values_and_grads(X, [GOAL, Goal(Margin(), Misclassified(), Y)], seeds=SEEDS)
    torch.testing.assert_close(both[0].grad, found.grad, rtol=1e-4, atol=1e-7)
    # Jensen: the mean loss is never below the loss of the mean.
    assert (Adaptive(DRAWS)(victim, SMOOTH).value(X, GOAL, seeds=SEEDS)[0] >= value).all()


def test_fingerprint_tells_the_expectations_apart_where_there_is_noise():
    victim = small_cnn()
    mean, loss = Adaptive(4, eot="probability"), Adaptive(4)
    assert mean(victim, SMOOTH).fingerprint != loss(victim, SMOOTH).fingerprint
    assert mean(victim, Median()).fingerprint == loss(victim, Median()).fingerprint


def test_certain_draws_leave_a_finite_gradient():
    """Probabilities below float32's least: the logarithm of the mean is still a number."""
    victim = small_cnn()
    victim.network[-1].weight.mul_(1e4)
    found = Adaptive(3, eot="probability")(victim, SMOOTH).value_and_grad(X, GOAL, seeds=SEEDS)
    assert found.loss.isfinite().all()
    assert found.loss.max() > -math.log(torch.finfo(torch.float32).tiny)
    assert found.grad.isfinite().all()


def test_another_word_is_refused():
    with pytest.raises(ValueError, match=r"threat\.eot=logits, expected loss or probability"):
        Adaptive(eot="logits")
