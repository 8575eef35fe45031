"""Noises against SciPy's distributions; the same noise for an image in any batch."""

import numpy as np
import pytest
import torch
from scipy import stats

from medrobust.defense.noise.additive import GaussianNoise, PoissonNoise, SaltPepperNoise
from medrobust.number import NumberError
from medrobust.rng import sample_seeds

NOISES = [GaussianNoise(0.1), SaltPepperNoise(0.1), PoissonNoise(255)]


def seeds(n: int, seed: int = 0) -> torch.Tensor:
    return sample_seeds(seed, [str(i) for i in range(n)])


@pytest.mark.parametrize("noise", NOISES, ids=lambda n: type(n).__name__)
def test_same_in_any_batch_and_in_range(noise):
    x = torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = noise(x, seeds=seeds(9))
    parts = torch.cat([noise(x[i : i + 2], seeds=seeds(9)[i : i + 2]) for i in range(0, 9, 2)])
    assert torch.equal(whole, parts)
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert not torch.equal(whole, noise(x, seeds=seeds(9, seed=1)))


def test_gaussian_follows_its_distribution():
    x = torch.full((50, 1, 40, 40), 0.5)
    change = (GaussianNoise(0.05)(x, seeds=seeds(50)) - x).flatten().numpy()
    assert stats.kstest(change, "norm", args=(0, 0.05)).pvalue > 1e-3


def test_salt_pepper_share_and_whole_pixels():
    x = torch.full((50, 3, 40, 40), 0.5)
    changed = SaltPepperNoise(0.1)(x, seeds=seeds(50))
    assert torch.equal(changed[:, 0], changed[:, 1])
    pixels = changed[:, 0].flatten()
    white, black = int((pixels == 1).sum()), int((pixels == 0).sum())
    assert white + black + int((pixels == 0.5).sum()) == len(pixels)
    assert stats.binomtest(white + black, len(pixels), 0.1).pvalue > 1e-3
    assert stats.binomtest(white, white + black, 0.5).pvalue > 1e-3


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0, 2.7, 20.5, 100.0, 199.9])
def test_poisson_follows_its_distribution(rate):
    """Chi-square of the counts against SciPy's probabilities; peak high enough not to clip."""
    x = torch.full((200, 1, 20, 20), rate / 1000, dtype=torch.float64)
    counts = (PoissonNoise(1000)(x, seeds=seeds(200)) * 1000).round().flatten().long().numpy()
    if rate == 0:
        assert not counts.any()
        return
    edges = np.unique(stats.poisson.ppf(np.linspace(0.02, 0.98, 25), rate)).astype(int)
    cdf = np.concatenate([[0], stats.poisson.cdf(edges, rate), [1]])
    expected = np.diff(cdf) * len(counts)
    found = np.bincount(np.searchsorted(edges, counts), minlength=len(edges) + 1)
    keep = expected > 5
    assert (
        stats.chisquare(
            found[keep], expected[keep] * found[keep].sum() / expected[keep].sum()
        ).pvalue
        > 1e-4
    )


def test_gradients_reach_the_attacker():
    x = torch.full((2, 1, 16, 16), 0.5, requires_grad=True)
    for noise, share in ((NOISES[0], 1.0), (NOISES[1], 0.9), (NOISES[2], 1.0)):
        (grad,) = torch.autograd.grad(noise(x, seeds=seeds(2)).sum(), x)
        assert abs(grad.mean().item() - share) < 0.06
        assert set(grad.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianNoise(-1), "sigma=-1"),
        (lambda: SaltPepperNoise(1.5), "sigma=1.5"),
        (lambda: PoissonNoise(0), "peak=0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(NumberError, match=message):
        make()
