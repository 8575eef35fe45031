"""The vote: SciPy's binomial test, closed forms of RM, exact counts on a known victim."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm
from torch import nn

from medrobust.defense.core.stand_in import stand_ins
from medrobust.defense.gaussian_smoothing import GaussianSmoothing
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF, p_value
from medrobust.defense.noise.additive import GaussianNoise, PoissonNoise, SaltPepperNoise
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.number import NumberError
from medrobust.rng import fold_in, sample_seeds
from tests.support.helpers import LinearNetwork, linear_victim, small_cnn

IMAGES = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(3))
SEEDS = sample_seeds(0, [str(i) for i in range(7)])


def test_p_value_equals_scipy():
    generator = np.random.default_rng(0)
    pairs = [(1, 0), (5, 5), (100, 0), (10000, 9000), (5200, 4800), (0, 0)]
    pairs += [tuple(sorted(generator.integers(0, 300, 2), reverse=True)) for _ in range(50)]
    first, second = (torch.tensor([int(p[i]) for p in pairs]) for i in (0, 1))
    expected = [binomtest(int(a), int(a + b)).pvalue if a + b else 1.0 for a, b in pairs]
    np.testing.assert_allclose(p_value(first, second).numpy(), expected, rtol=1e-9, atol=1e-12)


def test_abstains_where_the_paper_says():
    """With n = 10 000 votes on two classes the test abstains below a lead of about 330."""
    leads = torch.arange(300, 360, 2)
    abstains = p_value(5000 + leads // 2, 5000 - leads // 2) > 0.001
    assert 326 <= int(leads[~abstains][0]) <= 332


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_robust_metric_spans_zero_to_classes(classes):
    defense = MedRDF(GaussianNoise(), NoDefense(), copies=100)
    sure = torch.zeros(1, classes, dtype=torch.int64)
    sure[0, 1] = 100
    torn = torch.zeros(1, classes, dtype=torch.int64)
    torn[0, :2] = 50
    assert defense.decide(sure).confidence.item() == classes
    assert not defense.decide(sure).abstain.item()
    assert defense.decide(torn).confidence.item() == 0
    assert defense.decide(torn).abstain.item()


def test_robust_metric_equation_9():
    counts = torch.tensor([[70, 20, 10], [34, 33, 33]])
    found = MedRDF(GaussianNoise(), NoDefense(), copies=100).decide(counts)
    torch.testing.assert_close(found.confidence, torch.tensor([1.5, 0.03]))
    assert found.label.tolist() == [0, 0]
    assert found.abstain.tolist() == [False, True]


def test_votes_follow_the_closed_form():
    """One pixel, threshold at 0.5, Gaussian noise: P(class 1) is a normal tail."""

    network = LinearNetwork(1, 2)
    network.weight.data = torch.tensor([[0.0, 1.0]])
    victim = Victim(network, mean=[0.5], std=[1.0], architecture={}).freeze()
    values = torch.tensor([0.45, 0.5, 0.52, 0.6])
    defense = MedRDF(GaussianNoise(0.1), NoDefense(), copies=20_000)
    seeds = sample_seeds(0, [str(i) for i in range(4)])
    shares = defense(values.view(4, 1, 1, 1), victim, seeds=seeds).logits.softmax(1)[:, 1]
    expected = norm.sf((0.5 - values.numpy()) / 0.1)
    np.testing.assert_allclose(shares.numpy(), expected, atol=4 * math.sqrt(0.25 / 20_000))


@pytest.mark.parametrize("noise", [GaussianNoise(), SaltPepperNoise(), PoissonNoise()])
@pytest.mark.parametrize("denoiser", [NoDefense(), GaussianSmoothing(), Median()])
def test_same_votes_in_any_batch_and_chunk(noise, denoiser):
    victim = small_cnn()
    whole = MedRDF(noise, denoiser, copies=40)(IMAGES, victim, seeds=SEEDS)
    other = MedRDF(noise, denoiser, copies=40, chunk=33)
    for part in (slice(0, 3), slice(3, 7)):
        found = other(IMAGES[part], victim, seeds=SEEDS[part])
        assert torch.equal(found.logits, whole.logits[part])
        assert torch.equal(found.confidence, whole.confidence[part])


def test_deterministic_by_seed_and_chunk_is_not_science():
    victim = small_cnn()
    defense = MedRDF(GaussianNoise(0.5), NoDefense(), copies=50)
    first = defense(IMAGES, victim, seeds=SEEDS).logits
    assert torch.equal(first, defense(IMAGES, victim, seeds=SEEDS).logits)
    again = defense(IMAGES, victim, seeds=sample_seeds(1, [str(i) for i in range(7)])).logits
    assert not torch.equal(first, again)
    assert (
        defense.fingerprint
        == MedRDF(GaussianNoise(0.5), NoDefense(), copies=50, chunk=7).fingerprint
    )
    assert defense.fingerprint != MedRDF(GaussianNoise(0.4), NoDefense(), copies=50).fingerprint
    assert defense.fingerprint != MedRDF(GaussianNoise(0.5), Median(), copies=50).fingerprint


@pytest.mark.parametrize("noise", [GaussianNoise(), SaltPepperNoise(), PoissonNoise()])
@pytest.mark.parametrize("denoiser", [NoDefense(), GaussianSmoothing(), Median()])
def test_the_attacker_goes_through_the_very_copy_that_votes(noise, denoiser):
    """With gradients, and in a batch of one: the numbers are those of the deployed copy."""
    defense, victim = MedRDF(noise, denoiser, copies=1), linear_victim()
    leaf = IMAGES.clone().requires_grad_()
    proxy = defense.proxy(leaf, victim, seeds=fold_in(SEEDS, 0))
    votes = defense.count(IMAGES, victim, seeds=SEEDS)
    assert torch.equal(proxy.label, votes.argmax(1))
    with torch.no_grad():
        assert torch.equal(
            defense.sample(IMAGES[3:4], seeds=SEEDS[3:4]),
            defense.sample(leaf, seeds=SEEDS)[3:4],
        )
    (grad,) = torch.autograd.grad(proxy.logits.square().sum(), leaf)
    assert (grad != 0).double().mean() > 0.3


@pytest.mark.parametrize("noise", [GaussianNoise(0.02), SaltPepperNoise(0.2)])
@pytest.mark.parametrize("denoiser", [NoDefense(), GaussianSmoothing(), Median()])
def test_gradient_of_a_copy_is_that_of_finite_differences(noise, denoiser):
    x = (0.2 + 0.6 * IMAGES[:2, :1, :5, :6].double()).requires_grad_()
    copy = stand_ins(MedRDF(noise, denoiser, copies=1))["exact"]
    assert torch.autograd.gradcheck(lambda x: copy.sample(x, seeds=SEEDS[:2]), x, eps=1e-7)


def test_copies_differ_from_one_another():
    defense = MedRDF(GaussianNoise(0.1), NoDefense(), copies=3)  # enough that no batch is filled up
    seen = []

    class Spy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.clone())
            return x.flatten(1)[:, :4]

    victim = Victim(Spy(), mean=[0.5] * 3, std=[0.5] * 3, architecture={}).freeze()
    defense(IMAGES, victim, seeds=SEEDS)
    copies = torch.cat(seen)
    assert len(copies) == 21
    assert len(torch.unique(copies.flatten(1), dim=0)) == 21


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MedRDF(GaussianNoise(), NoDefense(), copies=0), "defense.copies=0"),
        (lambda: MedRDF(GaussianNoise(), NoDefense(), alpha=0), "defense.alpha=0"),
        (lambda: MedRDF(GaussianNoise(), NoDefense(), chunk=0), "defense.chunk=0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(NumberError, match=message):
        make()


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="two leading classes"):
        MedRDF(GaussianNoise(), NoDefense(), copies=3).decide(torch.full((2, 1), 3))
