"""JPEG against another call of libjpeg."""

import pytest
import torch
from torchvision.io import ImageReadMode, decode_jpeg, encode_jpeg

from medrobust.defense.jpeg import JPEG
from medrobust.number import NumberError


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 17, 23, generator=torch.Generator().manual_seed(0))


SEEDS = torch.arange(5)


@pytest.mark.parametrize("quality", [20, 75, 95])
def test_jpeg_equals_torchvision(quality):
    smooth = torch.nn.functional.interpolate(
        torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(1)), 48, mode="bicubic"
    ).clamp(0, 1)
    found = JPEG(quality).purify(smooth, seeds=SEEDS[:4])
    eight = (smooth * 255).round().to(torch.uint8)
    expected = torch.stack(
        [decode_jpeg(encode_jpeg(image, quality), ImageReadMode.RGB) for image in eight]
    )
    # Both call libjpeg; builds differ in the inverse DCT by a grey level.
    assert ((found * 255).round() - expected).abs().max() <= 2
    assert ((found * 255).round() - expected).abs().float().mean() < 0.1


def test_jpeg_keeps_grey_images_grey_and_worsens_with_lower_quality(images):
    grey = images[:, :1]
    errors = [
        (JPEG(quality).purify(grey, seeds=SEEDS) - grey).abs().mean() for quality in (95, 50, 10)
    ]
    assert JPEG().purify(grey, seeds=SEEDS).shape == grey.shape
    assert errors[0] < errors[1] < errors[2]


def test_threads_change_nothing(images):
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(JPEG(60).purify(images, seeds=SEEDS))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
    alone = torch.cat([JPEG(60).purify(image[None], seeds=SEEDS) for image in images])
    assert torch.equal(found[0], alone)


def test_bad_input_is_refused(images):
    with pytest.raises(NumberError, match=r"defense\.quality=0"):
        JPEG(0)
    with pytest.raises(ValueError, match="1 or 3 channels"):
        JPEG().purify(images[:, :2], seeds=SEEDS)
    with pytest.raises(ValueError, match="4:1:1"):
        JPEG(subsampling="4:1:1")
