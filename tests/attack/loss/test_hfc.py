import copy

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.nn import functional as F

from medrobust.attack.loss.core.clean import Clean
from medrobust.attack.loss.feature_match import FeatureMatch
from medrobust.attack.loss.hfc import HFC, principal_axes
from medrobust.attack.loss.margin import Margin
from medrobust.attack.target.most_likely import MostLikely
from medrobust.prediction import Prediction
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.toys import ToyData


@pytest.fixture(scope="module")
def data(images: Tensor, labels: Tensor) -> ToyData:
    return ToyData(images[50:], labels[50:])


@pytest.fixture(scope="module")
def fitted(surrogate: VictimSurrogate, data: ToyData) -> HFC:
    loss = HFC(components=2)
    loss.fit(surrogate, data)
    return loss


def see(surrogate: VictimSurrogate, loss: HFC, x: Tensor) -> Prediction:
    with torch.no_grad():
        return surrogate(x, torch.arange(len(x)), loss.taps)


@pytest.mark.parametrize("targeted", [False, True])
def test_likelihood_of_the_best_component_against_sklearn(
    targeted: bool,
    surrogate: VictimSurrogate,
    fitted: HFC,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    x, y = images[:20], labels[:20]
    with torch.no_grad():
        bound = fitted.bind(surrogate, x, y, seeds[:20], targeted=targeted)
        classes = y if targeted else MostLikely()(surrogate.victim(x), y, seeds)
        layers = surrogate.victim.features(x, ["2", "4"])[1]
    assert bound.taps == ("2", "4")  # both ReLUs
    wanted = np.zeros(20)
    for tap, maps in layers.items():
        means = maps.double().mean((2, 3)).numpy()
        axes = fitted._axes[tap].double().numpy()
        for row, label in enumerate(classes.tolist()):
            mixture = fitted._mixtures[tap].at(torch.tensor(label))
            model = GaussianMixture(2, covariance_type="full")
            model.weights_ = mixture.log_weight.double().exp().numpy()
            model.means_ = mixture.mean.double().numpy() @ axes
            scaled = axes / np.sqrt(mixture.variance.double().numpy())[:, :, None]
            model.precisions_cholesky_ = np.linalg.cholesky(scaled.transpose(0, 2, 1) @ scaled)
            joint = model._estimate_weighted_log_prob(means[row : row + 1])
            wanted[row] += joint.max() / means.shape[1] / 2  # of two layers
    seen = see(surrogate, bound, x)
    np.testing.assert_allclose(bound.likelihood(seen).numpy(), wanted, rtol=2e-4, atol=2e-4)
    loss = -F.cross_entropy(seen.logits, classes, reduction="none") + bound.likelihood(seen) / 2
    value = bound.toward(seen, y) if targeted else bound.away(seen, y)
    torch.testing.assert_close(value, loss)


def test_mixtures_describe_the_clean_features_of_their_class(
    surrogate: VictimSurrogate, data: ToyData
) -> None:
    loss = HFC(components=1)
    loss.fit(surrogate, data)
    with torch.no_grad():
        features = surrogate.victim.features(data.train.images, ["4"])[1]["4"].mean((2, 3))
    axes = loss._axes["4"]
    torch.testing.assert_close(axes @ axes.T, torch.eye(len(axes)), rtol=0, atol=1e-5)
    within = torch.cat([features[data.train.labels == label] for label in range(3)])
    within = torch.cat(
        [part - part.mean(0) for part in within.split(data.train.labels.bincount().tolist())]
    )
    scatter = axes @ (within.T @ within) @ axes.T
    torch.testing.assert_close(scatter, scatter.diag().diag(), rtol=0, atol=1e-4 * scatter.max())
    features = features @ axes.T
    for label in range(3):
        part = features[data.train.labels == label]
        mixture = loss._mixtures["4"].at(torch.tensor(label))
        floor = 1e-3 * features.var(0, correction=0).mean()
        torch.testing.assert_close(mixture.mean[0], part.mean(0), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            mixture.variance[0], part.var(0, correction=0) + floor, rtol=1e-3, atol=1e-6
        )


def test_a_clean_image_is_likelier_in_its_own_class(
    surrogate: VictimSurrogate, fitted: HFC, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, s = images[:50], labels[:50], seeds[:50]  # not those of the fit
    with torch.no_grad():
        own = fitted.bind(surrogate, x, y, s, targeted=True)
        other = fitted.bind(surrogate, x, (y + 1) % 3, s, targeted=True)
        seen = see(surrogate, own, x)
    assert (own.likelihood(seen) > other.likelihood(seen)).float().mean() > 0.8


def test_subsets_and_weight(
    surrogate: VictimSurrogate, fitted: HFC, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, index = images[:8], labels[:8], torch.tensor([6, 1, 1])
    with torch.no_grad():
        bound = fitted.bind(surrogate, x, y, seeds[:8], targeted=False)
    whole, part = see(surrogate, bound, x), see(surrogate, bound, x[index])
    torch.testing.assert_close(bound.at(index).away(part, y[index]), bound.away(whole, y)[index])
    free = copy.copy(bound)
    free.derive(weight=0.0)
    runner_up = whole.logits.scatter(1, y[:, None], -torch.inf).argmax(1)
    torch.testing.assert_close(
        free.away(whole, y), -F.cross_entropy(whole.logits, runner_up, reduction="none")
    )


def test_it_carries_any_base_even_one_that_learns(
    surrogate: VictimSurrogate, data: ToyData, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, s, index = images[:8], labels[:8], seeds[:8], torch.tensor([3, 0])
    for base in (Margin(), FeatureMatch(["6"])):
        loss = HFC(["4"], base=base, components=1)
        loss.fit(surrogate, data)
        assert loss.taps == (("4", "6") if base.learns else ("4",))
        with torch.no_grad():
            bound = loss.bind(surrogate, x, y, s, targeted=True)
            alone = base.bind(surrogate, x, y, s, targeted=True)
        seen = see(surrogate, bound, x)
        wanted = alone.toward(seen, y) + bound.likelihood(seen) / 2
        torch.testing.assert_close(bound.toward(seen, y), wanted)
        part = see(surrogate, bound, x[index])
        torch.testing.assert_close(bound.at(index).toward(part, y[index]), wanted[index])


def test_rare_classes(
    surrogate: VictimSurrogate, data: ToyData, images: Tensor, seeds: Tensor
) -> None:
    train, y = data.train, torch.tensor([0, 2, 1])
    kept = (train.labels != 1) | (torch.arange(len(train)) < 6)
    rare = ToyData(train.images, train.labels)
    rare.train.keep(kept.nonzero().flatten())
    loss = HFC(components=3)
    loss.fit(surrogate, rare)
    assert loss._count[1] == 2
    with pytest.raises(ValueError, match=r"class \[1\] has fewer training images than .*=3"):
        loss.bind(surrogate, images[:3], y, seeds[:3], targeted=True)
    full = HFC(components=3)
    full.fit(surrogate, data)
    index = torch.tensor([0, 2])  # the others are as if nothing were missing
    for objective_ in (full, loss):
        bound = objective_.bind(surrogate, images[:2], y[:2], seeds[:2], targeted=True)
        assert bound.likelihood(see(surrogate, bound, images[:2])).isfinite().all()
    for tap in full._mixtures:  # of a mixture EM's own optimum, but its mean is that of the images
        means = []
        for some in (loss, full):
            mixture = some._mixtures[tap].at(index)
            centre = (mixture.log_weight.exp()[..., None] * mixture.mean).sum(-2)
            means.append(centre @ some._axes[tap])
        torch.testing.assert_close(*means, rtol=0.01, atol=0.01)
    with pytest.raises(ValueError, match="no class has more than 2 training images"):
        HFC(components=3, per_class=2).fit(surrogate, data)


def test_wrong_use_is_refused(
    surrogate: VictimSurrogate, fitted: HFC, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    given = images[:2], labels[:2], seeds[:2]
    with pytest.raises(RuntimeError, match=r"HFC learns .* call attack\.fit"):
        HFC().bind(surrogate, *given, targeted=False)
    other = VictimSurrogate(copy.deepcopy(surrogate.victim).double())
    with pytest.raises(RuntimeError, match="features of another surrogate"):
        fitted.bind(other, *given, targeted=False)
    masks = torch.zeros(2, 12, 12, dtype=torch.int64)
    with pytest.raises(ValueError, match="this task has masks"):
        fitted.bind(surrogate, images[:2], masks, seeds[:2], targeted=False)
    with pytest.raises(KeyError, match="victim has no tap"):
        HFC(["layer9"]).fit(surrogate, ToyData(images, labels))
    for bad in ({"weight": -1}, {"components": 0}, {"per_class": 0}):
        with pytest.raises(ValueError, match=rf"attack\.loss\.{next(iter(bad))}="):
            HFC(**bad)


def test_a_correlation_of_channels_is_a_part_of_the_likelihood() -> None:
    """Channels that always move together: one that moves alone is unlikely, as SciPy says."""
    generator = torch.Generator().manual_seed(3)
    common = torch.randn(400, 1, generator=generator, dtype=torch.float64)
    features = common + 0.1 * torch.randn(400, 2, generator=generator, dtype=torch.float64)
    labels = torch.arange(400) % 2
    loss = HFC(components=1)
    loss._count = torch.bincount(labels)
    axes = principal_axes(features, labels)
    clean = Clean(labels, labels, {"tap": features}, 2)
    loss._mixtures = {"tap": loss._fit(clean, "tap", axes)}
    loss._axes = {"tap": axes}
    loss._classes = torch.tensor([0, 0])
    shown = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    found = loss.likelihood(Prediction(torch.zeros(2, 2), features={"tap": shown}))
    part = features[labels == 0]
    floor = 1e-3 * float(features.var(0, correction=0).mean())
    along = (part @ axes.T).var(0, correction=0) + floor
    covariance = (axes.T * along) @ axes
    wanted = multivariate_normal(part.mean(0).numpy(), covariance.numpy()).logpdf(shown.numpy()) / 2
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4)
    assert found[0] > found[1] + 20
