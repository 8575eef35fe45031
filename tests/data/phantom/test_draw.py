"""What is drawn: repeatable, different by class, faint."""

import numpy as np
import pytest

from medrobust.data.phantom.canvas import chunks, dots, paint, paint_masked, smooth_noise
from medrobust.data.phantom.chest import draw_chest
from medrobust.data.phantom.ct import draw_infected, draw_lungs
from medrobust.data.phantom.digit import draw_digit
from medrobust.data.phantom.fundus import draw_fundus
from medrobust.data.phantom.lesion import MAX_CLASSES, draw_lesion
from medrobust.data.phantom.mri import draw_mri
from medrobust.data.phantom.polyp import draw_polyp

PAINTERS = {draw_lesion: 8, draw_fundus: 5, draw_chest: 3, draw_mri: 4}
ALL = PAINTERS | {draw_digit: 10}  # whose classes differ plainly
MASKED = (draw_polyp, draw_infected, draw_lungs)


@pytest.mark.parametrize("draw", ALL)
@pytest.mark.parametrize("px", [28, 65])
def test_drawing_is_repeatable(draw, px):
    labels = np.arange(16) % ALL[draw]
    images = paint(draw, labels, px, seed=3)
    assert images.dtype == np.uint8
    assert images.shape[:3] == (16, px, px)
    assert np.array_equal(images, paint(draw, labels, px, seed=3))
    assert not np.array_equal(images, paint(draw, labels, px, seed=4))
    assert len({image.tobytes() for image in images}) == 16
    assert images.std() > 15


@pytest.mark.parametrize("draw", PAINTERS)
def test_classes_differ_faintly(draw):
    """The same random numbers under two labels: only the evidence of the class changes."""
    n, px = 64, 32
    draws = [
        draw(np.random.default_rng(0), np.full(n, c), px).clip(0, 1) for c in range(PAINTERS[draw])
    ]
    for other in draws[1:]:
        change = np.abs(other - draws[0])
        assert 0 < change.mean() < 16 / 255


@pytest.mark.parametrize("draw", MASKED)
def test_masks_are_repeatable_and_never_empty(draw):
    images, masks = paint_masked(draw, 40, 48, seed=0)
    again = paint_masked(draw, 40, 48, seed=0)
    assert np.array_equal(images, again[0])
    assert np.array_equal(masks, again[1])
    assert set(np.unique(masks)) == {0, 255}
    share = (masks > 0).mean(axis=(1, 2))
    assert share.min() > 0.002
    assert share.max() < 0.6


def test_more_kinds_of_lesion_are_refused():
    with pytest.raises(ValueError, match="16 kinds"):
        draw_lesion(np.random.default_rng(0), np.array([MAX_CLASSES]), 28)


def test_chunks_cover_everything_once():
    parts = [part for part, _ in chunks(100, 512, seed=0)]
    assert len(parts) > 1
    assert [i for p in parts for i in range(p.start, p.stop)] == list(range(100))


def test_noise_has_unit_variance_and_the_wanted_scale():
    rng = np.random.default_rng(0)
    coarse, fine = smooth_noise(rng, 400, 64, 3), smooth_noise(rng, 400, 64, 16)
    for noise in (coarse, fine):
        assert noise.shape == (400, 64, 64)
        assert noise.std() == pytest.approx(1, abs=0.05)
    assert np.abs(np.diff(coarse)).mean() < 0.4 * np.abs(np.diff(fine)).mean()


def test_a_dot_is_where_it_should_be():
    one = np.ones((1, 1), dtype=np.float32)
    image = dots(101, 0.5 * one, -0.5 * one, 0.1 * one, 2 * one)[0]
    assert np.unravel_index(image.argmax(), image.shape) == (75, 25)
    assert image.max() == pytest.approx(2, abs=0.01)
    assert dots(101, one, one, one, 0 * one).max() == 0
