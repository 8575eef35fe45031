from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from medrobust.attack.loss.core.gmm import Mixture, fit


def blobs(count: int = 300, seed: int = 0) -> Tensor:
    """Three separate Gaussian blobs of unequal size and width in five dimensions."""
    generator = torch.Generator().manual_seed(seed)
    which = torch.tensor([0, 0, 0, 1, 1, 2])[torch.randint(6, (count,), generator=generator)]
    centre = torch.tensor([[0.0] * 5, [6.0, 0, 0, 3, 0], [0.0, 8, 8, 0, 1]])[which]
    width = torch.tensor([1.0, 0.3, 2.0])[which, None]
    return (centre + width * torch.randn(count, 5, generator=generator)).double()


def in_sklearn(mixture: Mixture) -> GaussianMixture:
    model = GaussianMixture(len(mixture.mean), covariance_type="diag")
    model.weights_, model.means_ = mixture.log_weight.exp().numpy(), mixture.mean.numpy()
    model.covariances_ = mixture.variance.numpy()
    model.precisions_cholesky_ = 1 / np.sqrt(model.covariances_)
    return model


def mean_likelihood(mixture: Mixture, features: Tensor) -> float:
    return float(mixture.log_joint(features).logsumexp(1).mean())


def test_likelihood_against_sklearn() -> None:
    mixture, features = fit(blobs(), 4, floor=1e-6), blobs(50, seed=1)
    joint = mixture.log_joint(features)
    theirs = in_sklearn(mixture)
    np.testing.assert_allclose(
        joint.logsumexp(1).numpy(), theirs.score_samples(features.numpy()), rtol=1e-10
    )
    assert joint.argmax(1).tolist() == theirs.predict(features.numpy()).tolist()


def test_several_mixtures_at_once() -> None:
    one, two, features = fit(blobs(), 2, floor=1e-6), fit(blobs(seed=5), 2, floor=0.1), blobs(7)
    both = Mixture(*(torch.stack(parts) for parts in zip(one, two, strict=True)))
    chosen = both.at(torch.tensor([1, 0, 1])).log_joint(features[:3].unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(chosen[1], one.log_joint(features)[1])
    torch.testing.assert_close(chosen[2], two.log_joint(features)[2])


def test_one_component_is_mean_and_variance() -> None:
    features = blobs()
    mixture = fit(features, 1, floor=0.25)
    torch.testing.assert_close(mixture.mean[0], features.mean(0))
    torch.testing.assert_close(mixture.variance[0], features.var(0, correction=0) + 0.25)
    torch.testing.assert_close(mixture.log_weight, torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("seed", range(3))
def test_fit_is_as_good_as_sklearns(seed: int) -> None:
    features = blobs(seed=seed)
    ours = fit(features, 3, floor=1e-6, tolerance=1e-6, steps=500)
    theirs = GaussianMixture(
        3, covariance_type="diag", n_init=5, tol=1e-6, max_iter=500, random_state=0
    ).fit(features.numpy())
    assert mean_likelihood(ours, features) > theirs.score(features.numpy()) - 1e-4
    order, reference = ours.log_weight.argsort(), np.argsort(theirs.weights_)
    np.testing.assert_allclose(ours.mean[order], theirs.means_[reference], atol=0.01)
    np.testing.assert_allclose(ours.variance[order], theirs.covariances_[reference], atol=0.02)


def test_every_round_raises_the_likelihood() -> None:
    features = blobs()
    found = [
        mean_likelihood(fit(features, 5, floor=1e-9, steps=n, tolerance=0), features)
        for n in (1, 2, 4, 8, 16)
    ]
    assert all(after > before for before, after in pairwise(found))


def test_deterministic_by_seed() -> None:
    features = blobs(60)
    first, same, other = (fit(features, 6, floor=1e-3, seed=seed) for seed in (0, 0, 1))
    assert all(map(torch.equal, first, same))
    assert not torch.equal(first.mean, other.mean)


def test_constant_and_repeated_features_have_a_density() -> None:
    features = torch.zeros(10, 3)
    features[:5, 0] = 1.0
    mixture = fit(features, 4, floor=1e-3)
    assert all(part.isfinite().all() for part in mixture)
    assert (mixture.variance >= 1e-3).all()
    assert mixture.log_joint(features.double()).isfinite().all()


def test_far_from_zero_nothing_cancels() -> None:
    near, far = fit(blobs(), 1, floor=1e-6), fit(blobs() + 1e7, 1, floor=1e-6)
    torch.testing.assert_close(near.variance, far.variance, rtol=1e-6, atol=0)


@pytest.mark.parametrize("components", [0, 4])
def test_too_few_samples(components: int) -> None:
    with pytest.raises(ValueError, match=f"{components} components for 3 samples"):
        fit(torch.rand(3, 2), components, floor=1e-3)
