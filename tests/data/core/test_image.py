import numpy as np
import pytest
import torch
from PIL import Image

from medrobust.data.core.error import DataError
from medrobust.data.core.image import ArrayReader, FileReader, open_image, to_tensor
from medrobust.data.core.manifest import Entry

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY = COLOUR[..., 0]


def saved(tmp_path, pixels, name="a.png"):
    path = tmp_path / name
    Image.fromarray(pixels).save(path)
    return path


def test_grey_is_repeated_and_colour_weighted():
    repeated = to_tensor(Image.fromarray(GREY), None, 3, 1)
    assert repeated.shape == (3, 20, 30)
    assert (repeated == torch.from_numpy(GREY)).all()
    grey = to_tensor(Image.fromarray(COLOUR), None, 1, 3)
    weighted = COLOUR @ np.array([0.299, 0.587, 0.114])  # ITU-R 601
    assert grey.shape == (1, 20, 30)
    assert np.abs(grey[0].numpy() - weighted).max() <= 1


@pytest.mark.parametrize(("channels", "native"), [(1, 1), (1, 3), (3, 1), (3, 3)])
@pytest.mark.parametrize("pixels", [COLOUR, GREY])
def test_any_file_gets_the_wanted_shape(pixels, channels, native):
    image = to_tensor(Image.fromarray(pixels), 16, channels, native)
    assert image.shape == (channels, 16, 16)
    assert image.dtype == torch.uint8
    assert image.is_contiguous()
    if native == 1 and channels == 3:
        assert (image[0] == image[2]).all()


def test_masks_are_thresholded_and_resized_by_nearest(tmp_path):
    mask = np.zeros((20, 30), dtype=np.uint8)
    mask[:10] = 250
    mask[10:] = 5
    files = saved(tmp_path, COLOUR), saved(tmp_path, mask, "m.jpg")
    image, label = FileReader(10, 3, 3)(Entry("s/a", None, "a", None, files))
    assert image.shape == (3, 10, 10)
    assert label.shape == (10, 10)
    assert label[:5].all()
    assert not label[5:].any()


def test_a_mask_of_another_size_is_named(tmp_path):
    files = saved(tmp_path, COLOUR), saved(tmp_path, GREY[:5], "m.png")
    with pytest.raises(DataError, match=r"m\.png: mask of 30x5 .* 30x20"):
        FileReader(10, 3, 3)(Entry("s/a", None, "a", None, files))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_truncated_file_is_named(tmp_path, suffix):
    path = saved(tmp_path, COLOUR, f"cut.{suffix}")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=rf"cut\.{suffix}: cannot be decoded"):
        open_image(path)


def test_other_files_and_depths_are_named(tmp_path):
    deep = saved(tmp_path, GREY.astype(np.uint16) * 256, "deep.png")
    with pytest.raises(DataError, match=r"deep\.png: pixel mode I;16"):
        open_image(deep)
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    with pytest.raises(DataError, match=r"text\.jpg: cannot be decoded"):
        open_image(text)
    with pytest.raises(DataError, match=r"gone\.jpg: .* gone"):
        open_image(tmp_path / "gone.jpg")


def test_alpha_and_palettes_become_colour(tmp_path):
    path = tmp_path / "p.png"
    Image.fromarray(COLOUR).convert("RGBA").save(path)
    assert np.array_equal(np.array(open_image(path)), COLOUR)


def test_digests_follow_every_byte(tmp_path):
    image, mask = saved(tmp_path, COLOUR), saved(tmp_path, GREY, "m.png")
    reader = FileReader(10, 3, 3)
    alone = reader.sha256(Entry("s/a", 0, "a", None, (image,)))
    both = reader.sha256(Entry("s/a", None, "a", None, (image, mask)))
    changed = GREY.copy()
    changed[0, 0] ^= 1
    saved(tmp_path, changed, "m.png")
    assert len({alone, both, reader.sha256(Entry("s/a", None, "a", None, (image, mask)))}) == 3


def test_arrays_are_read_by_split_and_row():
    arrays = {"val": np.stack([COLOUR[:20, :20], COLOUR[:20, 10:]])}
    reader = ArrayReader(arrays, None, 3, 3)
    entry = Entry("s/val/1", 4, "g", "val", (), index=1)
    image, label = reader(entry)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), arrays["val"][1])
    assert label == 4
    assert reader.sha256(entry) != reader.sha256(Entry("s/val/0", 4, "g", "val", ()))
