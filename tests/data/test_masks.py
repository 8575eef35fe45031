"""Datasets whose labels are masks: kvasir_seg and covid_ct."""

import numpy as np
import pytest
import torch
from PIL import Image

from medrobust.data.core.error import DataError, MissingDataError
from medrobust.data.core.foreground import check_foreground
from medrobust.data.core.image import classes_of, decoded
from medrobust.data.core.image_set import load
from medrobust.data.covid_ct import COVIDCT

PLACES = {"kvasir_seg": ("Kvasir-SEG/images", "Kvasir-SEG/masks"), "covid_ct": ("ct", "covid")}


@pytest.fixture(params=list(PLACES))
def drawn(request, make_own):
    """Image folder, mask folder, and a function that reads the phantom again after damage."""
    module = make_own(request.param)
    module.prepare_data()
    pictures, masks = (module.folder / p for p in PLACES[request.param])
    return pictures, masks, lambda: make_own(request.param)


def test_masks_are_those_of_the_files(drawn):
    _, _, read = drawn
    module = read()
    assert module.classes[0] == "background"
    for sample, entry in zip(module.dataset("val"), module.dataset("val").entries, strict=True):
        assert entry.files[0].stem == entry.files[1].stem
        mask = np.array(Image.open(entry.files[1])) >= 128
        assert torch.equal(sample.label, torch.from_numpy(mask).long())


def test_an_image_without_a_mask_is_named(drawn):
    _, masks, read = drawn
    path = sorted(masks.iterdir())[3]
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name}: no mask of this name"):
        read().setup()


def test_a_mask_without_an_image_is_named(drawn):
    pictures, _, read = drawn
    path = sorted(pictures.iterdir())[3]
    path.unlink()
    with pytest.raises(DataError, match=rf"{path.name}: no image of this name"):
        read().setup()


def test_a_mask_of_another_size_is_named(drawn):
    _, _, read = drawn
    module = read()
    entry = module.dataset("test").entries[0]
    Image.open(entry.files[1]).resize((10, 10)).save(entry.files[1])
    with pytest.raises(DataError, match=rf"{entry.files[1].name}: mask of 10x10 pixels"):
        module.dataset("test")[0]


@pytest.fixture
def split_kvasir(make_own):
    """Kvasir-SEG with split files of 60, 30 and 10 names."""
    module = make_own("kvasir_seg")
    module.prepare_data()
    names = [f"phantom{i:04d}" for i in range(100)]
    folder = module.folder / "splits"
    folder.mkdir()
    for file, part in (("train", names[:60]), ("validation", names[60:90]), ("test", names[90:])):
        (folder / f"{file}.txt").write_text("\n".join(part) + "\n")
    return folder, lambda: make_own("kvasir_seg")


def test_split_files_decide(split_kvasir):
    _, read = split_kvasir
    module = read()
    assert [len(module.dataset(s)) for s in ("train", "val", "test")] == [60, 30, 10]
    assert module.dataset("val").entries[0].id == "kvasir_seg/phantom0060"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("phantom0091\n", "phantom7777\n", r"test\.txt, name 2: no image phantom7777"),
        ("phantom0091\n", "phantom0061\n", r"test\.txt, name 2: phantom0061 is also in val"),
        ("phantom0091\n", "", "phantom0091 is in none of its files"),
    ],
)
def test_wrong_split_files_are_named(split_kvasir, old, new, message):
    folder, read = split_kvasir
    path = folder / "test.txt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        read().setup()


def test_a_missing_split_file_is_named(split_kvasir):
    folder, read = split_kvasir
    (folder / "test.txt").unlink()
    with pytest.raises(MissingDataError, match=r"test\.txt"):
        read().setup()


def test_targets_are_two_labelings_of_the_same_images(make):
    infection, lungs = make("covid_ct"), make("covid_ct_lungs")
    assert infection.folder.name == lungs.folder.name
    assert (infection.key, lungs.key) == (
        "covid_ct_infection_24px_phantom",
        "covid_ct_lungs_24px_phantom",
    )
    assert infection.manifest.digest != lungs.manifest.digest
    for a, b in zip(infection.dataset("train"), lungs.dataset("train"), strict=True):
        assert torch.equal(a.image, b.image)
        assert not (a.label & ~b.label.bool()).any()  # infection lies in the lungs
        assert a.label.sum() < b.label.sum()


def test_slices_of_a_volume_are_a_group(make_own):
    data = make_own("covid_ct")
    assert load(data, "test").groups is None  # the table does not name volumes
    table = data.folder / "slices.csv"
    lines = table.read_text().splitlines()
    named = [f"{line},v{place // 3}" for place, line in enumerate(lines[1:])]
    table.write_text("\n".join([f"{lines[0]},volume", *named]) + "\n")
    again = COVIDCT(data.folder, data.manifests / "again", size=data.size)
    groups = load(again, "test").groups
    assert groups.kind == "volumes"
    assert groups.index[:7] == (0, 0, 0, 1, 1, 1, 2)


def test_other_targets_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"data\.target is 'heart'"):
        COVIDCT(tmp_path, tmp_path, target="heart")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("file,split", "file,part", "no column 'split'"),
        ("0004.png,test", "0004.png,holdout", "line 6: split 'holdout'"),
        ("0004.png,test", "0003.png,test", "line 6: 0003.png occurs twice"),
        ("0004.png,test", "7777.png,test", "line 6: no image ct/7777.png"),
        ("0004.png,test\n", "", r"0004\.png: no row for it"),
    ],
)
def test_wrong_rows_of_the_slice_table_are_named(make_own, old, new, message):
    module = make_own("covid_ct")
    module.prepare_data()
    path = module.folder / "slices.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        make_own("covid_ct").setup()


def lossless(folder, pixels, **how):
    path = folder / "mask.png"
    Image.fromarray(np.array(pixels, dtype=np.uint8), **how).save(path)
    return path


def indices(path, classes=2):
    return np.array(classes_of(decoded(path), path, classes)).tolist()


def test_a_lossless_mask_is_black_and_white_or_class_indices(tmp_path):
    assert indices(lossless(tmp_path, [[0, 255], [255, 0]])) == [[0, 1], [1, 0]]
    assert indices(lossless(tmp_path, [[0, 1], [1, 1]])) == [[0, 1], [1, 1]]
    assert indices(lossless(tmp_path, [[0, 1], [2, 1]]), classes=3) == [[0, 1], [2, 1]]
    assert indices(lossless(tmp_path, [[0, 0], [0, 0]])) == [[0, 0], [0, 0]]


def test_a_palette_holds_class_indices(tmp_path):
    picture = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8), mode="P")
    picture.putpalette([9, 9, 9, 200, 30, 30])
    picture.save(tmp_path / "mask.png")
    assert indices(tmp_path / "mask.png") == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("pixels", "classes", "odd"),
    [
        ([[0, 7], [255, 0]], 2, r"\[7, 255\]"),
        ([[0, 1], [3, 2]], 3, r"\[3\]"),
        ([[128]], 2, r"\[128\]"),
    ],
)
def test_values_that_are_no_classes_are_named(tmp_path, pixels, classes, odd):
    path = lossless(tmp_path, pixels)
    with pytest.raises(DataError, match=rf"mask\.png: mask values {odd}.*0 and 255, or indices 0"):
        indices(path, classes)


def test_a_split_without_any_foreground_is_refused(drawn):
    _, masks, read = drawn
    module = read()
    keep = module.dataset("train").entries[0].files[1]
    for path in masks.iterdir():
        if path != keep:  # one of the training split is enough there
            picture = Image.open(path)
            Image.new("L", picture.size).save(path)
    check_foreground(read(), "train")
    with pytest.raises(DataError, match=r"no mask of split test \(\d+ images\).*data\.limit_test"):
        load(read(), "test")
