"""Detectors that average over layers what scikit-learn computes of each."""

import copy
import math

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity as SklearnKernelDensity
from sklearn.neighbors import NearestNeighbors

from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.fitting import FitError, enough_of_each
from medrobust.defense.core.layered import LayerDetector, rank_in_class, squared_distances
from medrobust.defense.kd import KernelDensity
from medrobust.defense.lid import LID, dimensionality
from medrobust.defense.mahalanobis import Mahalanobis
from medrobust.number import NumberError
from tests.support.clinic import CLASSES, TAPS, SplitData, clinic, pictures

KINDS = {
    "kd": lambda **settings: KernelDensity(TAPS, **settings),
    "lid": lambda **settings: LID(TAPS, **{"batch": 60, "batches": 4} | settings),
    "maha": lambda **settings: Mahalanobis(TAPS, **settings),
}
each = pytest.mark.parametrize("kind", KINDS)


def fitted(kind, data=None, **settings) -> LayerDetector:
    detector = KINDS[kind](**settings)
    detector.fit(clinic().victim, data or clinic().data)
    return detector.eval()


def layers(x) -> tuple[list[np.ndarray], np.ndarray]:
    """Mean over pixels of each tap, and the predicted class, by NumPy."""
    logits, features = clinic().victim.features(x, TAPS)
    pooled = [features[tap].detach().double().numpy().mean((2, 3)) for tap in TAPS]
    return pooled, logits.argmax(1).numpy()


def scores(detector, x) -> np.ndarray:
    seeds = torch.arange(len(x))
    with torch.no_grad():
        return (
            detector.layer_scores(detector.observe(x, clinic().victim, seeds=seeds))
            .double()
            .numpy()
        )


@each
def test_attacked_images_score_higher(kind):
    detector, (victim, _, clean, _, attacked, seeds) = fitted(kind), clinic()
    with torch.no_grad():
        low, high = (detector(x, victim, seeds=seeds).score for x in (clean, attacked))
    truth = [0] * len(low) + [1] * len(high)
    assert (high > low).sum() > 42  # of 60 images, each before and after the attack
    assert roc_auc_score(truth, torch.cat([low, high])) > 0.65


@each
def test_layers_are_on_one_scale(kind):
    detector, (victim, data, *_) = fitted(kind), clinic()
    val = data.dataset("val").images
    raw = scores(detector, val)
    scaled = (raw - raw.mean(0)) / raw.std(0, ddof=1)
    found = detector(val, victim, seeds=torch.arange(len(val))).score.detach().numpy()
    np.testing.assert_allclose(found, scaled.mean(1), atol=1e-4)


def test_density_is_scikit_learns():
    (_, data, clean, *_), detector = clinic(), fitted("kd", bandwidth=0.3)
    train = data.dataset("train")
    known, _ = layers(train.images)
    features, predicted = layers(clean)
    found = scores(detector, clean)
    for layer in range(len(TAPS)):
        for label in range(CLASSES):
            of_class = known[layer][train.labels.numpy() == label]
            reference = SklearnKernelDensity(bandwidth=0.3).fit(of_class)
            rows = predicted == label
            expected = -reference.score_samples(features[layer][rows])
            np.testing.assert_allclose(found[rows, layer], expected, rtol=1e-4, atol=1e-4)


def test_density_far_from_everything_still_has_an_order():
    detector, (_, _, clean, *_) = fitted("kd", bandwidth=1e-3), clinic()
    near, far = scores(detector, clean), scores(detector, 1 - clean)
    assert np.isfinite(near).all()
    assert (far > near).all()


def test_dimensionality_is_that_of_nearest_neighbors():
    (_, data, clean, *_), detector = clinic(), fitted("lid", batch=240, batches=1)
    train = data.dataset("train")
    known, _ = layers(train.images)
    features, _ = layers(clean)
    found = scores(detector, clean)
    for layer in range(len(TAPS)):
        apart, _ = NearestNeighbors(n_neighbors=20).fit(known[layer]).kneighbors(features[layer])
        expected = -1 / np.log(apart / apart[:, -1:]).mean(1)
        np.testing.assert_allclose(found[:, layer], expected, rtol=1e-3)


def test_dimensionality_of_a_cube():
    """Neighbours spread evenly over d dimensions have a dimensionality near d."""
    for dimension in (2, 5):
        generator = torch.Generator().manual_seed(dimension)
        points = torch.rand(20000, dimension, generator=generator)
        apart = squared_distances(torch.zeros(1, dimension), points - 0.5)
        assert dimensionality(apart, 200).item() == pytest.approx(dimension, rel=0.15)


def test_dimensionality_is_a_mean_over_minibatches():
    detector, (_, _, clean, *_) = fitted("lid"), clinic()
    known = detector.statistics["features_0"]
    assert len(known) == 240
    features = torch.from_numpy(layers(clean)[0][0]) - detector.statistics["middle_0"].double()
    apart = [torch.cdist(features, part.double()) for part in known.split(60)]
    parts = [dimensionality(part.square(), 20) for part in apart]
    expected = torch.stack(parts).mean(0)
    np.testing.assert_allclose(scores(detector, clean)[:, 0], expected, rtol=1e-4)


def test_dimensionality_of_known_images_is_finite():
    detector, (_, data, *_) = fitted("lid"), clinic()
    assert np.isfinite(scores(detector, data.dataset("train").images)).all()
    assert torch.isfinite(dimensionality(torch.zeros(1, 30), 20)).all()


def test_distance_is_that_of_the_empirical_covariance():
    (_, data, clean, *_), detector = clinic(), fitted("maha")
    train = data.dataset("train")
    known, _ = layers(train.images)
    features, _ = layers(clean)
    found = scores(detector, clean)
    labels = train.labels.numpy()
    for layer in range(len(TAPS)):
        means = np.stack([known[layer][labels == label].mean(0) for label in range(CLASSES)])
        model = EmpiricalCovariance(assume_centered=True).fit(known[layer] - means[labels])
        apart = [model.mahalanobis(features[layer] - mean) for mean in means]
        np.testing.assert_allclose(found[:, layer], np.min(apart, 0), rtol=2e-3)


def test_distance_with_fewer_images_than_channels():
    """Directions that no training image takes count nothing, as by a pseudo-inverse."""
    detector = Mahalanobis(["layer"])
    generator = torch.Generator().manual_seed(0)
    known = torch.randn(6, 10, generator=generator)
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    detector.learn_layer(0, known, labels, 2)
    x = torch.randn(4, 10, generator=generator)
    found = detector.layer_score(0, x, torch.zeros(4))
    means = np.stack([known[labels == label].double().mean(0).numpy() for label in (0, 1)])
    centred = known.double().numpy() - means[labels]
    precision = np.linalg.pinv(centred.T @ centred / 6)
    away = x.double().numpy()[:, None] - means
    expected = np.einsum("nki,ij,nkj->nk", away, precision, away).min(1)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@each
def test_gradient_is_the_derivative(kind):
    detector, victim = copy.deepcopy(fitted(kind)).double(), copy.deepcopy(clinic().victim).double()
    x = (0.1 + 0.8 * clinic().attacked[:6]).double().requires_grad_()
    seeds = torch.arange(6)
    score = detector.proxy(x, victim, seeds=seeds).score
    assert score.dtype == torch.float64
    (grad,) = torch.autograd.grad(score.sum(), x)
    assert (grad.flatten(1).norm(dim=1) > 1e-6).all()
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        way = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        step = 1e-7
        with torch.no_grad():
            ahead, behind = (
                detector.proxy(x + sign * step * way, victim, seeds=seeds).score for sign in (1, -1)
            )
        slope = (ahead - behind) / (2 * step)
        close = torch.isclose((grad * way).sum((1, 2, 3)), slope, rtol=1e-4, atol=1e-5)
        assert close.sum() >= 4  # some may stand where neighbours change


@each
def test_same_bits_in_any_batch(kind):
    detector, (victim, _, clean, *_) = fitted(kind), clinic()
    with torch.no_grad():
        whole = detector(clean, victim, seeds=torch.arange(len(clean))).score
        for rows in (torch.arange(3), torch.tensor([7]), torch.arange(len(clean) - 1, -1, -1)):
            part = detector(clean[rows], victim, seeds=rows).score
            assert torch.equal(part, whole[rows])


@each
def test_a_cushion_stands_before_the_training_images_too(kind):
    plain, cushioned = fitted(kind), fitted(kind, cushion=BitDepth(2))
    for name, value in plain.statistics.named_buffers():
        if name.startswith(("features", "means")):
            assert not torch.equal(value, cushioned.statistics[name])


def only(counts: dict[int, int]) -> SplitData:
    """Training images of these classes, so many of each; validation images of all."""
    images, labels = pictures(120, 0)
    rows = torch.cat([(labels == label).nonzero()[:count, 0] for label, count in counts.items()])
    return SplitData({"train": (images[rows], labels[rows]), "val": pictures(60, 1)})


@pytest.mark.parametrize(("kind", "least"), [("kd", 1), ("lid", 1), ("maha", 2)])
def test_a_class_with_too_few_images(kind, least):
    message = rf"class 2 has {least - 1} clean images in split train, expected at least {least}"
    with pytest.raises(FitError, match=message + ".*limit_train"):
        fitted(kind, only({0: 30, 1: 30, 2: least - 1}))
    assert fitted(kind, only({0: 30, 1: 30, 2: least})).threshold.isfinite()


@each
def test_no_taps(kind):
    detector = type(fitted(kind))(())
    with pytest.raises(ValueError, match=r"defense\.taps is empty; name layers out of \['0', '1'"):
        detector.fit(clinic().victim, clinic().data)


def test_a_victim_of_one_class():
    with pytest.raises(FitError, match="the victim has 1 class, expected at least 2"):
        enough_of_each(torch.zeros(5, dtype=torch.int64), 1, 1)


def test_fewer_images_than_neighbours():
    with pytest.raises(NumberError, match=r"k=20 neighbours, but split train has 12 images"):
        fitted("lid", only({0: 4, 1: 4, 2: 4}))


@pytest.mark.parametrize("settings", [{"k": 1}, {"k": 2.5}, {"k": 20, "batch": 19}, {"batches": 0}])
def test_bad_neighbourhoods(settings):
    with pytest.raises(NumberError, match=r"defense\.(k|batch|batches)="):
        KINDS["lid"](**settings)


@pytest.mark.parametrize(
    "make",
    [
        lambda: KernelDensity(TAPS, bandwidth=0),
        lambda: KernelDensity(TAPS, most=0),
        lambda: Mahalanobis(TAPS, cutoff=-1),
    ],
)
def test_bad_numbers(make):
    with pytest.raises(NumberError, match=r"defense\."):
        make()


def test_at_most_so_many_images_of_each_class():
    detector = fitted("kd", most=10)
    labels = detector.statistics["labels_0"]
    assert labels.bincount().tolist() == [10, 10, 10]
    assert math.isfinite(detector.threshold)


def test_squared_distances():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 30, generator=generator), torch.randn(50, 30, generator=generator)
    expected = torch.cdist(x.double(), y.double()).square().float()
    torch.testing.assert_close(squared_distances(x, y), expected, rtol=1e-5, atol=1e-4)
    assert (squared_distances(x, x) >= 0).all()


def test_rank_in_class():
    labels = torch.tensor([1, 0, 1, 1, 0, 2])
    assert rank_in_class(labels).tolist() == [0, 0, 1, 2, 1, 0]
