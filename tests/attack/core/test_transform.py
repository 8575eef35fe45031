import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.attack.core.transform import Window, draw_window, shrink
from medrobust.rng import sample_seeds

SEEDS = sample_seeds(0, [str(i) for i in range(4000)])


def by_torch(image: Tensor, window: Window, index: int) -> Tensor:
    """One image (C, H, W), resized and padded by torch's own functions."""
    height, width, top, left = (int(part[index]) for part in window)
    small = F.interpolate(image[None], size=(height, width), mode="nearest")[0]
    bottom, right = image.shape[1] - top - height, image.shape[2] - left - width
    return F.pad(small, (left, right, top, bottom))


@pytest.mark.parametrize(
    ("side", "rate", "sizes"),
    [
        (12, 0.9, {10, 11}),
        (10, 0.7, {7, 8, 9}),  # 0.7 * 10 is below 7 in binary
        (28, 0.9, {25, 26, 27}),
        (5, 0.01, {1, 2, 3, 4}),
        (1, 0.9, {1}),
    ],
)
def test_sizes_and_places(side: int, rate: float, sizes: set[int]) -> None:
    window = draw_window(SEEDS, side, side, rate=rate, probability=1.0)
    assert set(window.height.tolist()) == sizes
    assert torch.equal(window.height, window.width)
    for size in sizes:
        rows = window.height == size
        assert rows.float().mean() == pytest.approx(1 / len(sizes), abs=0.04)
        for place in (window.top, window.left):
            assert set(place[rows].tolist()) == set(range(side - size + 1))


def test_sizes_are_those_of_torchattacks() -> None:
    """Its randint(int(28 * 0.9), 28) leaves the upper end out, and so do ours."""
    torch.manual_seed(0)
    theirs = torch.randint(low=int(28 * 0.9), high=28, size=(1000,))
    ours = draw_window(SEEDS, 28, 28, rate=0.9, probability=1.0).height
    assert set(ours.tolist()) == set(theirs.tolist())


def test_proportions_are_kept() -> None:
    window = draw_window(SEEDS, 40, 80, rate=0.5, probability=1.0)
    ratio = window.width.double() / window.height
    assert (ratio - 2).abs().max() < 0.06
    assert len(set(window.height.tolist())) == 20


def test_places_are_drawn_apart() -> None:
    """All nine places of 8 pixels in 10 occur, about equally often."""
    window = draw_window(SEEDS, 10, 10, rate=0.8, probability=1.0)
    small = window.height == 8
    place = (3 * window.top + window.left)[small]
    share = torch.bincount(place, minlength=9) / len(place)
    assert (share - 1 / 9).abs().max() < 0.03


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_probability(probability: float) -> None:
    window = draw_window(SEEDS, 20, 30, rate=0.8, probability=probability)
    moved = (window.height < 20) | (window.width < 30)
    assert moved.float().mean() == pytest.approx(probability, abs=0.03)
    still = ~moved
    assert (window.top[still] == 0).all()
    assert (window.left[still] == 0).all()


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 9, 16), (2, 1, 5)])
def test_shrink_is_resize_and_pad(shape: tuple[int, ...]) -> None:
    images = torch.rand(60, *shape, generator=torch.Generator().manual_seed(0))
    window = draw_window(SEEDS[:60], *shape[1:], rate=0.4, probability=0.8)
    found = shrink(images, window)
    expected = torch.stack([by_torch(image, window, i) for i, image in enumerate(images)])
    assert torch.equal(found, expected)
    last = images.to(memory_format=torch.channels_last)
    assert torch.equal(shrink(last, window), expected)


def test_masks_move_like_images() -> None:
    masks = torch.randint(5, (30, 9, 7), generator=torch.Generator().manual_seed(1))
    window = draw_window(SEEDS[:30], 9, 7, rate=0.5, probability=1.0)
    found = shrink(masks, window)
    assert found.dtype == torch.int64
    assert torch.equal(found.float(), shrink(masks[:, None].float(), window)[:, 0])


def test_gradient_is_exact() -> None:
    """Autograd's product with the Jacobian, against the transpose written out column by column."""
    window = draw_window(SEEDS[:6], 5, 4, rate=0.4, probability=0.7)
    images = torch.rand(6, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    weight = torch.rand(6, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    leaf = images.clone().requires_grad_()
    (grad,) = torch.autograd.grad((shrink(leaf, window) * weight).sum(), leaf)
    units = torch.eye(40, dtype=torch.float64).view(40, 1, 2, 5, 4).expand(40, 6, 2, 5, 4)
    columns = torch.stack([shrink(unit.contiguous(), window) for unit in units])
    assert torch.equal(grad.flatten(1).T, (columns * weight).flatten(2).sum(2))
    assert torch.autograd.gradcheck(lambda x: shrink(x, window), leaf)
