"""Every stand-in of every config: the same answers, another derivative."""

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from medrobust.defense.bit_clipping import BitClipping
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.base import Defense, Derivative, Purifier
from medrobust.defense.core.stand_in import stand_ins
from medrobust.defense.feature_squeezing import FeatureSqueezing
from medrobust.defense.gaussian_smoothing import GaussianSmoothing
from medrobust.defense.jpeg import JPEG, StraightThroughJPEG
from medrobust.defense.median import Median, rank_weights
from medrobust.defense.none import NoDefense
from medrobust.defense.random_resize_pad import RandomResizePad
from medrobust.defense.sr import SR
from medrobust.defense.tv_minimization import TVMinimization
from medrobust.defense.wavelet import Wavelet, smooth_threshold, soft_threshold
from medrobust.prediction import Prediction
from tests.defense.test_suite import NAMES, build, draw, learns, same, toy_victim

SEEDS = torch.arange(2)


class Reversed(Median):
    """A median whose default is its own derivative."""

    def derivatives(self) -> dict[str, Derivative]:
        known = super().derivatives()
        return {"exact": known["exact"]} | known


def inner(count: int, side: int) -> Tensor:
    """Images in float64 without black, white or equal neighbours."""
    generator = torch.Generator().manual_seed(5)
    return 0.2 + 0.6 * torch.rand(count, 3, side, side, generator=generator, dtype=torch.float64)


def answer(defense: Defense, x: Tensor, seeds: Tensor) -> tuple[Prediction, Tensor]:
    """The proxy's prediction, and the gradient of a logit and, of a detector, the score."""
    leaf = x.clone().requires_grad_()
    found = defense.proxy(leaf, toy_victim(), seeds=seeds)
    loss = found.logits[:, 0].sum() + (0.0 if found.score is None else found.score.sum())
    return found, torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("name", NAMES)
def test_stand_ins_change_the_derivative_alone(name: str) -> None:
    x, seeds = draw(3, 3, 16, 16)
    defense = build(name)
    found = stand_ins(defense)
    assert next(iter(found.values())) is defense
    expected, default = answer(defense, x, seeds)
    grads = [default]
    for stand_in in list(found.values())[1:]:
        seen, grad = answer(stand_in, x, seeds)
        assert same(seen, expected)
        assert grad.isfinite().all()
        grads.append(grad)
        assert stand_in.fingerprint == defense.fingerprint
        assert [*map(id, stand_in.parameters())] == [*map(id, defense.parameters())]
    # A denoiser as drawn is the identity, and a squeezer that is not the farthest has no part.
    if not learns(defense) and not isinstance(defense, FeatureSqueezing):
        for first, second in combinations(grads, 2):
            assert not torch.equal(first, second)
    labels = [stand_in.stand_in_name for stand_in in found.values()]
    assert len(set(labels)) == len(labels)
    assert labels[0] == ""
    assert list(stand_ins(defense)) == list(found)
    assert torch.equal(answer(defense, x, seeds)[1], default)  # left as it was


@pytest.mark.parametrize(
    ("defense", "names"),
    [
        (NoDefense(), ["exact"]),
        (RandomResizePad(), ["exact"]),
        (StraightThroughJPEG(), ["identity"]),
        (JPEG(), ["smooth", "slanted", "identity"]),
        (BitDepth(), ["identity", "smooth"]),
        (Median(), ["soft", "exact", "identity"]),
        (Wavelet(), ["exact", "smooth", "identity"]),
        (TVMinimization(), ["exact", "identity"]),
        (SR("sr", "nowhere"), ["exact", "identity", "smooth"]),
        (FeatureSqueezing([GaussianSmoothing()]), ["exact", "identity"]),
        # The bit depth has no exact derivative and keeps its own.
        (FeatureSqueezing([BitDepth(), GaussianSmoothing()]), ["exact", "identity", "smooth"]),
        (FeatureSqueezing([Reversed(), Median()]), ["mixed", "exact", "soft", "identity"]),
        (FeatureSqueezing([Median()], cushion=JPEG()), ["smooth", "slanted", "identity", "exact"]),
    ],
)
def test_names(defense: Defense, names: list[str]) -> None:
    assert sorted(stand_ins(defense)) == sorted(names)
    assert next(iter(stand_ins(defense))) == names[0]


def test_a_name_applies_to_all_parts_that_have_it() -> None:
    defense = FeatureSqueezing(
        [BitDepth(), GaussianSmoothing(), Wavelet()], cushion=JPEG(), tnr=0.9
    )
    parts = {
        name: [part.chosen for part in made.modules() if isinstance(part, Purifier)]
        for name, made in stand_ins(defense).items()
    }
    assert parts["exact"] == ["", "", "", ""]
    assert sorted(parts["smooth"]) == ["", "", "smooth", "smooth"]
    assert sorted(parts["identity"]) == ["", "identity", "identity", "identity"]


@pytest.mark.parametrize(
    "smooth",
    [
        *(BitDepth(bits).smoothed for bits in (3, 5)),
        *(BitClipping(bits).smoothed for bits in (3, 5)),
        *(Median(window).softened for window in (3, 5)),
        *(Wavelet(sigma).smoothed for sigma in (0.04, 0.1)),
    ],
    ids=lambda smooth: f"{type(smooth.__self__).__name__}.{smooth.__name__}",
)
def test_derivatives_are_those_of_finite_differences(smooth: Callable[..., Tensor]) -> None:
    x = inner(1, 7).requires_grad_()
    assert gradcheck(lambda z: smooth(z, seeds=SEEDS[:1]), x, eps=1e-7, atol=1e-4)


def slope(smooth: Callable[..., Tensor], x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Gradient of the (weighted) sum."""
    leaf = x.clone().requires_grad_()
    found = smooth(leaf, seeds=SEEDS)
    total = found.sum() if weight is None else (found * weight).sum()
    return torch.autograd.grad(total, leaf)[0]


def test_quantisers_have_the_slope_of_the_smooth_rounding() -> None:
    x = inner(2, 6)
    place = 31 * x
    expected = 3 * (place - place.round()) ** 2
    torch.testing.assert_close(slope(BitDepth(5).smoothed, x), expected)
    middle = torch.floor((255 * x + 0.5) / 8) * 8 + 3.5  # of the grey levels of one step
    expected = 3 * ((255 * x - middle) / 8) ** 2
    torch.testing.assert_close(slope(BitClipping(3).smoothed, x), expected)


@pytest.mark.parametrize("kind", [BitDepth, BitClipping])
def test_smooth_quantisers_are_near_the_real_ones(kind: type[BitDepth]) -> None:
    defense, x = kind(4), torch.arange(256).div(255).view(1, 1, 16, 16).double()
    smooth, real = (call(x, seeds=SEEDS[:1]) for call in (defense.smoothed, defense.purify))
    step = 1 / 15 if kind is BitDepth else 16 / 255
    assert ((smooth - real).abs() <= step / 8 + 1e-9).all()  # the cube of at most half a step


def test_the_soft_median_passes_the_weights_of_the_ranks() -> None:
    x, weight = inner(2, 6), inner(2, 6)
    expected, weights = torch.zeros_like(x), rank_weights(9)
    assert weights.argmax() == 4
    torch.testing.assert_close(weights, weights.flip(0))
    for image in range(2):
        for channel in range(3):
            for row in range(1, 5):
                for column in range(1, 5):
                    window = x[image, channel, row - 1 : row + 2, column - 1 : column + 2]
                    rank = window.flatten().argsort().argsort()
                    share = weights[rank].view(3, 3) * weight[image, channel, row, column]
                    place = slice(row - 1, row + 2), slice(column - 1, column + 2)
                    expected[image, channel, place[0], place[1]] += share
    inside = torch.zeros_like(weight)
    inside[:, :, 1:5, 1:5] = weight[:, :, 1:5, 1:5]
    torch.testing.assert_close(slope(Median(3).softened, x, inside), expected)
    flat = torch.full((1, 3, 6, 6), 0.25, dtype=torch.float64)
    torch.testing.assert_close(Median(3).softened(flat, seeds=SEEDS[:1]), flat)


def test_the_smooth_threshold() -> None:
    detail = torch.linspace(-3, 3, 61, dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor(0.5, dtype=torch.float64)
    found = smooth_threshold(detail, threshold)
    (grad,) = torch.autograd.grad(found.sum(), detail)
    u = 2 * detail.detach() / threshold
    torch.testing.assert_close(grad, torch.sigmoid(u - 2) + torch.sigmoid(-u - 2))
    assert grad.min() > 0.2
    far = detail.detach().abs() > 2
    expected = soft_threshold(detail.detach(), threshold)
    torch.testing.assert_close(found.detach()[far], expected[far], atol=1e-3, rtol=0)
    assert (found.detach() - expected).abs().max() < 0.4 * threshold
