import copy

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.loss.feature_match import FeatureMatch
from medrobust.attack.target.most_likely import MostLikely
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.toys import ToyData

DEEPEST = "6"  # the flattened pooling of the toy


@pytest.fixture(scope="module")
def data(images: Tensor, labels: Tensor) -> ToyData:
    return ToyData(images[80:], labels[80:])


@pytest.fixture(scope="module")
def fitted(surrogate: VictimSurrogate, data: ToyData) -> FeatureMatch:
    loss = FeatureMatch()
    loss.fit(surrogate, data)
    return loss


def guide_rows(bound: FeatureMatch, surrogate: VictimSurrogate, data: ToyData) -> Tensor:
    """Which training image each guide is."""
    with torch.no_grad():
        train = surrogate.victim.features(data.train.images, [DEEPEST])[1][DEEPEST]
    guides = bound._guides[DEEPEST]
    gap = (train[None] - guides[:, None]).abs().amax(2)
    assert gap.amin(1).max() < 1e-5
    return gap.argmin(1)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("nearest", [False, True])
def test_guides_are_of_the_class_and_classified_right(
    targeted: bool,
    nearest: bool,
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    data = ToyData(images[80:], labels[80:].clone())
    data.train.labels[::20] = (data.train.labels[::20] + 1) % 3  # to be left out
    loss = FeatureMatch(nearest=nearest)
    loss.fit(surrogate, data)
    x, y, s = images[:40], labels[:40], seeds[:40]
    with torch.no_grad():
        bound = loss.bind(surrogate, x, y, s, targeted=targeted)
        rows = guide_rows(bound, surrogate, data)
        wanted = y if targeted else MostLikely()(surrogate.victim(x), y, s)
        train = surrogate.victim(data.train.images).argmax(1)
    assert torch.equal(data.train.labels[rows], wanted)
    assert torch.equal(train[rows], wanted)
    assert (train != data.train.labels)[::20].all()
    assert len(rows.unique()) > 5


def test_the_nearest_guide_by_brute_force(
    surrogate: VictimSurrogate, data: ToyData, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    loss = FeatureMatch(nearest=True)
    loss.fit(surrogate, data)
    with torch.no_grad():
        bound = loss.bind(surrogate, images[:9], labels[:9], seeds[:9], targeted=True)
        train = surrogate.victim.features(data.train.images, [DEEPEST])
        right = (train[0].argmax(1) == data.train.labels).nonzero().flatten().tolist()
        mine = surrogate.victim.features(images[:9], [DEEPEST])[1][DEEPEST]
    for i, row in enumerate(guide_rows(bound, surrogate, data).tolist()):
        rivals = [j for j in right if data.train.labels[j] == labels[i]]
        distances = [float((train[1][DEEPEST][j] - mine[i]).norm()) for j in rivals]
        assert row == rivals[distances.index(min(distances))]


def test_guides_belong_to_the_image_not_the_batch(
    surrogate: VictimSurrogate, fitted: FeatureMatch, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    def guides(index: Tensor, words: Tensor) -> Tensor:
        with torch.no_grad():
            bound = fitted.bind(
                surrogate, images[index], labels[index], words[index], targeted=False
            )
        return bound._guides[DEEPEST]

    whole, order = guides(torch.arange(30), seeds), torch.tensor([7, 3, 28])
    assert torch.equal(whole[order], guides(order, seeds))
    assert not torch.equal(whole, guides(torch.arange(30), seeds + 1))


def test_value_and_subsets(
    surrogate: VictimSurrogate, fitted: FeatureMatch, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y = images[:6], labels[:6]
    with torch.no_grad():
        bound = fitted.bind(surrogate, x, y, seeds[:6], targeted=True)
        assert bound.taps == (DEEPEST,)
        seen = surrogate(x, seeds[:6], bound.taps)
    difference = seen.features[DEEPEST] - bound._guides[DEEPEST]
    wanted = -(difference**2).mean(1)
    torch.testing.assert_close(bound.toward(seen, y), wanted)
    assert torch.equal(bound.away(seen, y), bound.toward(seen, y))
    index = torch.tensor([5, 0, 0])
    part = Prediction(seen.logits[index], features={DEEPEST: seen.features[DEEPEST][index]})
    torch.testing.assert_close(bound.at(index).away(part, y[index]), wanted[index])


def test_several_taps_and_maps(
    surrogate: VictimSurrogate, data: ToyData, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    loss = FeatureMatch(["2", "4"], per_class=5)
    loss.fit(surrogate, data)
    x, y = images[:4], labels[:4]
    with torch.no_grad():
        bound = loss.bind(surrogate, x, y, seeds[:4], targeted=True)
        seen = surrogate(x, seeds[:4], bound.taps)
    wanted = torch.zeros(4)
    for tap in ("2", "4"):
        assert seen.features[tap].ndim == 4
        wanted -= ((seen.features[tap] - bound._guides[tap]) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(bound.away(seen, y), wanted)
    assert loss._bank is not None
    assert torch.bincount(loss._bank.labels).max() <= 5


def test_fitting_again_gives_the_same(
    surrogate: VictimSurrogate, data: ToyData, fitted: FeatureMatch
) -> None:
    again = FeatureMatch()
    again.fit(surrogate, data)
    assert again._bank is not None
    assert fitted._bank is not None
    assert torch.equal(again._bank.features[DEEPEST], fitted._bank.features[DEEPEST])
    assert again.fingerprint == fitted.fingerprint
    assert again.fingerprint != FeatureMatch(nearest=True).fingerprint


def test_use_before_fit_or_on_another_surrogate_is_refused(
    surrogate: VictimSurrogate, fitted: FeatureMatch, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    given = images[:2], labels[:2], seeds[:2]
    with pytest.raises(RuntimeError, match=r"FeatureMatch learns .* call attack\.fit"):
        FeatureMatch().bind(surrogate, *given, targeted=False)
    other = VictimSurrogate(copy.deepcopy(surrogate.victim).double())
    with pytest.raises(RuntimeError, match="features of another surrogate"):
        fitted.bind(other, *given, targeted=False)


def test_masks_are_refused(
    surrogate: VictimSurrogate, fitted: FeatureMatch, images: Tensor, data: ToyData
) -> None:
    masks = torch.zeros(2, 12, 12, dtype=torch.int64)
    with pytest.raises(ValueError, match="this task has masks"):
        fitted.bind(surrogate, images[:2], masks, torch.arange(2), targeted=False)
    dense = copy.copy(data)
    dense.task = "segmentation"
    with pytest.raises(ValueError, match="toy is a task of segmentation"):
        FeatureMatch().fit(surrogate, dense)


def test_a_class_without_a_guide_is_named(
    surrogate: VictimSurrogate, data: ToyData, images: Tensor, seeds: Tensor
) -> None:
    kept = data.train.labels != 2
    loss = FeatureMatch()
    loss.fit(surrogate, ToyData(data.train.images[kept], data.train.labels[kept]))
    y = torch.tensor([0, 2])
    with torch.no_grad(), pytest.raises(ValueError, match=r"no guide of class \[2\]"):
        loss.bind(surrogate, images[:2], y, seeds[:2], targeted=True)


def test_an_unknown_tap_is_named(surrogate: VictimSurrogate, data: ToyData) -> None:
    with pytest.raises(KeyError, match="victim has no tap"):
        FeatureMatch(["layer9"]).fit(surrogate, data)


def test_gradient_on_linear_features() -> None:
    """d/dx of -mean((A (x - m) / s - g)²) is -2 / (D s) A'(A (x - m) / s - g)."""
    generator = torch.Generator().manual_seed(0)
    features, classifier = nn.Linear(12, 5, bias=False), nn.Linear(5, 2, bias=False)
    for layer in (features, classifier):
        weight = torch.randn(layer.weight.shape, generator=generator)
        layer.weight = nn.Parameter(weight)
    network = nn.Sequential(nn.Flatten(), features, classifier)
    victim = Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture={}).double().freeze()
    surrogate = VictimSurrogate(victim)
    train = torch.rand(40, 3, 2, 2, generator=generator).double()
    loss = FeatureMatch()
    with torch.no_grad():
        loss.fit(surrogate, ToyData(train, victim(train).argmax(1)))
    x, y = torch.rand(3, 3, 2, 2, generator=generator).double(), torch.tensor([0, 1, 0])
    bound = loss.bind(surrogate, x, y, torch.arange(3), targeted=True)
    assert bound.taps == ("1",)
    leaf = x.requires_grad_()
    (grad,) = torch.autograd.grad(
        bound.toward(surrogate(leaf, torch.arange(3), bound.taps), y).sum(), leaf
    )
    A = features.weight.detach()
    residual = (x.detach().flatten(1) - 0.5) / 0.25 @ A.T - bound._guides["1"]
    torch.testing.assert_close(grad.flatten(1), -2 / (5 * 0.25) * residual @ A)
