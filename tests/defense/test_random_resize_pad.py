"""Random resizing and padding against torch's nearest neighbour, and what its canvas shows."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from medrobust.defense.random_resize_pad import RandomResizePad
from medrobust.model.core.victim import Victim
from medrobust.number import NumberError
from medrobust.rng import fold_in, sample_seeds
from tests.support.helpers import linear_victim, small_cnn

IMAGES = 0.1 + 0.9 * torch.rand(40, 3, 28, 35, generator=torch.Generator().manual_seed(0))
SEEDS = sample_seeds(0, [str(i) for i in range(40)])


def windows(found: torch.Tensor) -> list[tuple[slice, slice]]:
    """Where each canvas is not black."""
    places = []
    for canvas in found:
        lit = (canvas > 0).any(0).nonzero()
        (top, left), (bottom, right) = lit.amin(0).tolist(), (lit.amax(0) + 1).tolist()
        places.append((slice(top, bottom), slice(left, right)))
    return places


@pytest.mark.parametrize(
    ("smallest", "canvas", "heights", "size"),
    [(1, "331/299", {28, 29, 30}, (31, 39)), ("299/331", 1, {25, 26, 27}, (28, 35))],
)
def test_each_canvas_shows_its_image_resized(smallest, canvas, heights, size):
    found = RandomResizePad(smallest, canvas).purify(IMAGES, seeds=SEEDS)
    assert found.shape == (40, 3, *size)
    seen, tops, lefts = set(), set(), set()
    for image, shown, (rows, columns) in zip(IMAGES, found, windows(found), strict=True):
        inner = shown[:, rows, columns]
        expected = F.interpolate(image[None], inner.shape[1:], mode="nearest")[0]
        assert torch.equal(inner, expected)
        assert (inner > 0).sum() == (shown > 0).sum()
        seen.add(inner.shape[1])
        tops.add(rows.start)
        lefts.add(columns.start)
    assert seen == heights
    assert len(tops) >= 3
    assert len(lefts) >= 3


def test_paper_sizes():
    """299 px: 32 sizes from 299 to 330 on a canvas of 331."""
    seeds = sample_seeds(1, [str(i) for i in range(600)])
    column = torch.ones(600, 1, 299, 1)
    found = RandomResizePad().purify(column, seeds=seeds)
    heights = (found > 0).any(3).sum(2)[:, 0]
    assert found.shape[2] == 331
    assert set(heights.tolist()) == set(range(299, 331))


def test_gradient_is_exact():
    x = IMAGES[:2, :1, :9, :11].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: RandomResizePad().purify(x, seeds=SEEDS[:2]), x)


def test_passes_average_probabilities_over_patterns():
    victim, defense = small_cnn(), RandomResizePad(passes=3)
    found = defense(IMAGES, victim, seeds=SEEDS).logits.softmax(1)
    single = RandomResizePad()
    parts = [
        victim(single.purify(IMAGES, seeds=fold_in(SEEDS, number))).softmax(1)
        for number in range(3)
    ]
    torch.testing.assert_close(found, torch.stack(parts).mean(0))
    assert torch.equal(
        defense.proxy(IMAGES, victim, seeds=SEEDS).logits,
        single(IMAGES, victim, seeds=SEEDS).logits,
    )


def test_a_picture_of_it_has_the_size_of_the_image():
    found = RandomResizePad(canvas=2).view(IMAGES, seeds=SEEDS)
    assert found.shape == IMAGES.shape
    assert 0 <= found.min() < found.max() <= 1
    assert (found == 0).any(1).flatten(1).any(1).sum() >= 30  # with its black frame


def test_a_victim_of_one_size_is_served_in_its_own():
    images = IMAGES[:, :, :, :28]
    defense = RandomResizePad("299/331", 1)
    assert defense(images, linear_victim(size=28), seeds=SEEDS).logits.shape == (40, 4)


def test_masks_are_refused():
    network = nn.Conv2d(3, 2, 1)
    victim = Victim(network, mean=[0.5] * 3, std=[0.5] * 3, architecture={}).freeze()
    with pytest.raises(ValueError, match="classifiers only"):
        RandomResizePad()(IMAGES, victim, seeds=SEEDS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomResizePad(smallest=0), r"defense\.smallest=0"),
        (lambda: RandomResizePad(smallest=1.2, canvas=1.1), r"defense\.smallest=1\.2"),
        (lambda: RandomResizePad(canvas=9), r"defense\.canvas=9"),
        (lambda: RandomResizePad(passes=0), r"defense\.passes=0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(NumberError, match=message):
        make()


def test_the_mean_of_sure_answers_keeps_its_digits():
    """Float32 probabilities of margins above 103 are 0, whose logarithm is no logit."""
    victim, defense = small_cnn(), RandomResizePad(passes=3)
    victim.network[-1].weight.data *= 1e4
    with torch.no_grad():
        found = defense(IMAGES, victim, seeds=SEEDS).logits
        parts = [
            victim(defense.purify(IMAGES, seeds=fold_in(SEEDS, number))).double().log_softmax(1)
            for number in range(3)
        ]
    assert (parts[0].float().exp() == 0).any()
    wanted = torch.stack(parts).logsumexp(0) - torch.tensor(3.0).double().log()
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
