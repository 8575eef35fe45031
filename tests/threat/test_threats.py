"""What each threat lets the attacker see: exact gradients, BPDA, EOT, fingerprints."""

import pytest
import torch
from torch.nn import functional as F

from medrobust.attack.core.goal import Goal
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.pgd import PGD
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.gaussian_smoothing import GaussianSmoothing
from medrobust.defense.jpeg import JPEG, StraightThroughJPEG
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise, SaltPepperNoise
from medrobust.defense.none import NoDefense
from medrobust.defense.wavelet import Wavelet
from medrobust.rng import fold_in, sample_seeds
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.defended import DefendedSurrogate
from medrobust.threat.mean_loss import MeanLossSurrogate
from medrobust.threat.oblivious import Oblivious
from medrobust.threat.surrogate import VictimSurrogate
from medrobust.threat.transfer import Transfer
from tests.support.helpers import linear_victim, small_cnn
from tests.support.toys import Noise

N = 6
X = torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(5))
Y = torch.arange(N) % 4
SEEDS = sample_seeds(0, [str(i) for i in range(N)])
GOAL = Goal(CrossEntropy(), Misclassified(), Y)


def plain_gradient(function, x):
    x = x.clone().requires_grad_()
    loss = F.cross_entropy(function(x), Y, reduction="sum")
    return torch.autograd.grad(loss, x)[0]


def test_oblivious_sees_the_bare_victim_and_shares_one_fingerprint():
    victim = small_cnn()
    surrogates = [Oblivious()(victim, d) for d in (NoDefense(), Median(), JPEG())]
    assert len({s.fingerprint for s in surrogates}) == 1
    found = surrogates[0].value_and_grad(X, GOAL, seeds=SEEDS)
    torch.testing.assert_close(found.grad, plain_gradient(victim, X))
    torch.testing.assert_close(found.loss, F.cross_entropy(victim(X), Y, reduction="none"))
    assert torch.equal(found.reached, victim(X).argmax(1) != Y)


def test_adaptive_fingerprints_differ_by_defense_and_samples():
    victim = small_cnn()
    vote = MedRDF(GaussianNoise(), NoDefense(), copies=5)
    prints = {
        Adaptive(samples)(victim, defense).fingerprint
        for samples, defense in ((4, Median()), (4, Median(5)), (4, vote), (8, vote))
    }
    assert len(prints) == 4
    # A defense without randomness is not averaged over: the number of samples changes nothing.
    assert Adaptive(4)(victim, Median()).fingerprint == Adaptive(9)(victim, Median()).fingerprint


@pytest.mark.parametrize("defense", [Wavelet(), GaussianSmoothing()], ids=["wavelet", "gaussian"])
def test_adaptive_gradient_through_filters_is_exact(defense):
    victim = small_cnn()
    found = Adaptive()(victim, defense).value_and_grad(X, GOAL, seeds=SEEDS)
    expected = plain_gradient(lambda x: victim(defense.purify(x, seeds=SEEDS)), X)
    torch.testing.assert_close(found.grad, expected)
    assert not torch.allclose(found.grad, plain_gradient(victim, X))


def test_adaptive_gradient_equals_finite_differences():
    victim, defense = linear_victim().double(), GaussianSmoothing()
    x = X[:1].double()
    surrogate = Adaptive()(victim, defense)
    goal = GOAL.at(torch.tensor([0]))
    grad = surrogate.value_and_grad(x, goal, seeds=SEEDS[:1]).grad
    for place in ((0, 1, 4, 4), (0, 0, 0, 0), (0, 2, 7, 3)):
        step = torch.zeros_like(x)
        step[place] = 1e-5
        up = goal.value(surrogate(x + step, SEEDS[:1]))
        down = goal.value(surrogate(x - step, SEEDS[:1]))
        torch.testing.assert_close(grad[place], ((up - down) / 2e-5)[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "defense", [BitDepth(3), StraightThroughJPEG(60)], ids=["bit_depth", "jpeg"]
)
def test_bpda_is_the_victims_gradient_at_the_purified_image(defense):
    victim = small_cnn()
    found = Adaptive()(victim, defense).value_and_grad(X, GOAL, seeds=SEEDS)
    purified = defense.purify(X, seeds=SEEDS)
    torch.testing.assert_close(found.grad, plain_gradient(victim, purified))
    torch.testing.assert_close(found.loss, F.cross_entropy(victim(purified), Y, reduction="none"))


def test_value_is_that_of_value_and_grad():
    victim, defense = small_cnn(), MedRDF(GaussianNoise(0.4), Median(), copies=5)
    for threat in (Oblivious(), Adaptive(5, chunk=13), Adaptive(1)):
        surrogate = threat(victim, defense)
        seen = surrogate.value_and_grad(X, GOAL, seeds=SEEDS)
        loss, reached = surrogate.value(X, GOAL, seeds=SEEDS)
        torch.testing.assert_close(loss, seen.loss)
        assert torch.equal(reached, seen.reached)


@pytest.mark.parametrize("chunk", [1, 7, 13, 512])
def test_eot_averages_gradients_whatever_the_chunk(chunk):
    victim = small_cnn()
    defense = MedRDF(GaussianNoise(0.2), Median(), copies=5)
    found = Adaptive(5, chunk=chunk)(victim, defense).value_and_grad(X, GOAL, seeds=SEEDS)
    grads = [
        plain_gradient(lambda x, k=k: victim(defense.sample(x, seeds=fold_in(SEEDS, k))), X)
        for k in range(5)
    ]
    torch.testing.assert_close(found.grad, torch.stack(grads).mean(0), atol=1e-7, rtol=1e-4)


def test_eot_gradient_of_a_linear_model_is_known():
    """Salt and pepper lets a pixel through with probability 0.9; a linear loss keeps that."""
    victim = linear_victim(classes=2)
    defense = MedRDF(SaltPepperNoise(0.1), NoDefense(), copies=5)

    class Difference(CrossEntropy):
        def away(self, prediction, y):
            return prediction.logits[:, 1] - prediction.logits[:, 0]

    goal = Goal(Difference(), Misclassified(), torch.zeros(N, dtype=torch.int64))
    found = Adaptive(2000)(victim, defense).value_and_grad(X, goal, seeds=SEEDS).grad
    weight = victim.network.weight
    slope = ((weight[:, 1] - weight[:, 0]) / 0.5).view(3, 8, 8)
    ratio = (found / slope).flatten()
    assert abs(ratio.mean().item() - 0.9) < 0.01
    assert (ratio - 0.9).abs().max() < 6 * (0.09 / 2000) ** 0.5


def test_adaptive_same_in_any_batch():
    victim = small_cnn()
    surrogate = Adaptive(3)(victim, MedRDF(GaussianNoise(0.2), NoDefense(), copies=5))
    whole = surrogate.value_and_grad(X, GOAL, seeds=SEEDS)
    for part in (slice(0, 2), slice(2, 6)):
        index = torch.arange(N)[part]
        found = surrogate.value_and_grad(X[part], GOAL.at(index), seeds=SEEDS[part])
        torch.testing.assert_close(found.grad, whole.grad[part], rtol=1e-5, atol=1e-8)
        torch.testing.assert_close(
            surrogate(X[part], SEEDS[part]).logits, surrogate(X, SEEDS).logits[part]
        )


def test_no_gradient_is_left_on_weights():
    victim = small_cnn()
    surrogate = Adaptive(3)(victim, MedRDF(GaussianNoise(0.2), NoDefense(), copies=5))
    surrogate.value_and_grad(X, GOAL, seeds=SEEDS)
    assert all(p.grad is None and not p.requires_grad for p in victim.parameters())
    assert not victim.training


def test_adaptive_attack_beats_the_oblivious_one_on_a_strong_filter():
    """Through the filter, the attacker raises the loss of the filtered model more."""
    victim, defense = small_cnn(), GaussianSmoothing(3.0, 7)
    losses = {}
    for threat in (Oblivious(), Adaptive()):
        adversarial = PGD(eps="16/255", steps=10)(threat(victim, defense), X, Y, seeds=SEEDS)
        logits = defense(adversarial, victim, seeds=SEEDS).logits
        losses[type(threat).__name__] = F.cross_entropy(logits, Y).item()
    assert losses["Adaptive"] > losses["Oblivious"]


def test_transfer_uses_the_other_model_and_refuses_the_same():
    victim, other = small_cnn(seed=0), small_cnn(seed=1)
    surrogate = Transfer(other)(victim, Median())
    assert surrogate.fingerprint == other.fingerprint
    found = surrogate.value_and_grad(X, GOAL, seeds=SEEDS)
    torch.testing.assert_close(found.grad, plain_gradient(other, X))
    with pytest.raises(ValueError, match="the surrogate is the victim itself"):
        Transfer(small_cnn(seed=0))(victim, Median())


def test_a_surrogate_without_gradient_is_refused():
    class Deaf(NoDefense):
        def proxy(self, x, victim, *, seeds):
            return self(x.detach(), victim, seeds=seeds)

    with pytest.raises(RuntimeError, match="threat=adaptive, or use a black-box attack"):
        Adaptive()(small_cnn(), Deaf()).value_and_grad(X, GOAL, seeds=SEEDS)


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"threat\.eot_samples=0"):
        Adaptive(0)


def test_a_surrogate_whose_gradients_would_escape_the_nan_check_is_refused() -> None:
    for name in ("value_and_grad", "values_and_grads"):
        with pytest.raises(TypeError, match=f"Own.{name} is final; override _{name}"):
            type("Own", (VictimSurrogate,), {name: None})


def test_nan_in_a_gradient_is_recorded_step_by_step() -> None:
    class Sometimes(VictimSurrogate):
        def _value_and_grad(self, x, goal, *, seeds):  # type: ignore[no-untyped-def]
            seen = super()._value_and_grad(x, goal, seeds=seeds)
            return seen._replace(grad=seen.grad * (torch.nan if seeds[0] == 1 else 1.0))

    surrogate, x = Sometimes(small_cnn()), torch.rand(2, 3, 8, 8)
    goal = Goal(CrossEntropy(), Misclassified(), torch.tensor([0, 1]))
    with surrogate.nan_gradients() as found:
        for seed in (0, 1, 0):
            surrogate.value_and_grad(x, goal, seeds=torch.full((2,), seed))
    assert [bool(one) for one in found] == [False, True, False]
    surrogate.value_and_grad(x, goal, seeds=torch.ones(2, dtype=torch.int64))
    assert len(found) == 3  # nothing is recorded outside


def test_one_draw_is_the_first_of_several():
    victim, defense = small_cnn(), Noise()
    one = DefendedSurrogate(victim, defense)(X, SEEDS)
    first = MeanLossSurrogate(victim, defense, eot_samples=1, chunk=64)(X, SEEDS)
    torch.testing.assert_close(one.logits.log_softmax(1), first.logits.log_softmax(1))
    second = MeanLossSurrogate(victim, defense, eot_samples=2, chunk=64)(X, SEEDS)
    assert not torch.allclose(one.logits.log_softmax(1), second.logits.log_softmax(1))


@pytest.mark.parametrize("answer", ["scores", "labels"])
def test_a_black_box_is_as_random_as_its_defense(answer):
    assert BlackBox(answer)(small_cnn(), Noise()).random
    assert not BlackBox(answer)(small_cnn(), Median()).random
