import hashlib

import numpy as np
import pytest

from medrobust.data.aptos2019 import APTOS2019
from medrobust.data.aptos2019_binary import APTOS2019Binary
from medrobust.data.core.error import DataError
from medrobust.data.isic2019 import ISIC2019
from medrobust.data.kaggle_dr import KaggleDR
from medrobust.data.medmnist import MedMNIST


@pytest.fixture
def arrays(make):
    """Arrays of a small dermamnist, as in its file."""
    module = make("dermamnist", size=28)
    module.prepare_data()
    with np.load(module.folder / module.file) as npz:
        return dict(npz)


@pytest.fixture
def read(tmp_path):
    def _read(arrays, **keys):
        np.savez(tmp_path / "mine.npz", **arrays)
        keys = {"name": "dermamnist", "file": "mine.npz", "md5": None, **keys}
        return MedMNIST(tmp_path, tmp_path / "m", **keys)

    return _read


def test_pixels_labels_and_ids_are_those_of_the_file(arrays, read):
    module = read(arrays)
    assert module.key == "dermamnist_28px"
    assert module.classes[4] == "melanoma"
    for split in ("train", "val", "test"):
        dataset = module.dataset(split)
        assert len(dataset) == len(arrays[f"{split}_images"])
        sample = dataset[5]
        assert sample.id == f"dermamnist/{split}/5"
        pixels = (sample.image * 255).round().byte().permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, arrays[f"{split}_images"][5])
        assert sample.label == arrays[f"{split}_labels"][5, 0]


def test_resized(arrays, read):
    assert read(arrays, size=32).dataset("val")[0].image.shape == (3, 32, 32)


def test_the_official_md5_is_checked_unless_told_not_to(arrays, read, tmp_path):
    module = read(arrays, md5="official")
    found = hashlib.md5((tmp_path / "mine.npz").read_bytes()).hexdigest()
    with pytest.raises(DataError, match=rf"{found}.*0744692d530f8e62ec473284d019b0c7.*data\.md5"):
        module.setup()


def drop(arrays):
    del arrays["val_labels"]


def floats(arrays):
    arrays["test_images"] = arrays["test_images"] / 255


def grey(arrays):
    arrays["train_images"] = arrays["train_images"][..., 0]


def shorter(arrays):
    arrays["val_labels"] = arrays["val_labels"][:-1]


def flat(arrays):
    arrays["val_labels"] = arrays["val_labels"][:, 0]


def outside(arrays):
    arrays["test_labels"][2] = 7


def empty(arrays):
    arrays["val_images"], arrays["val_labels"] = (
        arrays[f"val_{k}"][:0] for k in ("images", "labels")
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (drop, "no array 'val_labels', only"),
        (floats, "test_images is float64"),
        (grey, "train_images is uint8 .* expected uint8"),
        (shorter, "val_labels is uint8 .* expected integers of shape"),
        (flat, "val_labels is uint8"),
        (outside, "test_labels row 2 is 7, expected 0 to 6"),
        (empty, "no image in split val"),
    ],
)
def test_wrong_arrays_are_named(arrays, read, damage, message):
    damage(arrays)
    with pytest.raises(DataError, match=message):
        read(arrays).setup()


def test_a_damaged_file_is_named(arrays, read, tmp_path):
    module = read(arrays)
    path = tmp_path / "mine.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"mine\.npz: not a readable npz"):
        module.setup()


@pytest.mark.parametrize("name", ["chestmnist", "organmnist3d", "mnist"])
def test_other_sets_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"expected a single-label 2-D set.*bloodmnist"):
        MedMNIST(tmp_path, tmp_path, name=name)


@pytest.mark.parametrize(("key", "value"), [("source_px", 32), ("md5", "none")])
def test_other_choices_are_refused(tmp_path, key, value):
    with pytest.raises(ValueError, match=f"data.{key} is"):
        MedMNIST(tmp_path, tmp_path, name="dermamnist", **{key: value})


def test_larger_official_images_are_another_file(tmp_path):
    module = MedMNIST(tmp_path, tmp_path, name="dermamnist", source_px=64)
    assert (module.file, module.size) == ("dermamnist_64.npz", 64)
    assert "dermamnist_64.npz" in module.origin.download


@pytest.mark.parametrize("name", ["bloodmnist", "organamnist", "retinamnist", "breastmnist"])
def test_any_set_has_a_phantom(tmp_path, name):
    module = MedMNIST(tmp_path, tmp_path / "m", name=name, phantom=True, phantom_n=160)
    assert set(module.labels("train").tolist()) == set(range(module.num_classes))
    assert module.dataset("train")[0].image.shape == (module.native_channels, 28, 28)


def test_grades_are_graded(tmp_path):
    sets = (MedMNIST(tmp_path, tmp_path, name=name) for name in ("retinamnist", "dermamnist"))
    assert [one.graded for one in sets] == [True, False]
    kinds = (APTOS2019, KaggleDR, APTOS2019Binary, ISIC2019)
    assert [kind.graded for kind in kinds] == [True, True, False, False]


def test_nothing_is_fetched_unless_wanted(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "torchvision.datasets.utils.download_url", lambda *a, **k: calls.append((a, k))
    )
    MedMNIST(tmp_path, tmp_path, name="dermamnist").prepare_data()
    assert calls == []
    MedMNIST(tmp_path, tmp_path, name="dermamnist", download=True).prepare_data()
    [(positional, named)] = calls
    assert positional[0].startswith("https://zenodo.org/")
    assert named == {"filename": "dermamnist.npz", "md5": "0744692d530f8e62ec473284d019b0c7"}
