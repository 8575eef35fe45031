"""Datasets whose labels are folder names: chest_xray, covid_radiography, brain_tumor_mri."""

import shutil

import pytest

from medrobust.data.chest_xray import patient
from medrobust.data.core.error import DataError, MissingDataError

FOLDERS = ("chest_xray", "covid_radiography", "brain_tumor_mri")
PLACES = {
    "chest_xray": "chest_xray/val/NORMAL",
    "covid_radiography": "COVID-19_Radiography_Dataset/COVID/images",
    "brain_tumor_mri": "Testing/glioma",
}


@pytest.fixture(params=FOLDERS)
def drawn(request, make_own):
    """The phantom, and a function that reads it again after damage."""
    module = make_own(request.param)
    module.prepare_data()
    return module.folder / PLACES[request.param], lambda: make_own(request.param)


def test_labels_are_folders(drawn):
    _, read = drawn
    module = read()
    for split in ("train", "val", "test"):
        for entry in module.dataset(split).entries:
            assert module.classes[entry.label] in entry.files[0].parts


def test_an_unknown_class_is_named(drawn):
    place, read = drawn
    top = place.parent.parent if place.name == "images" else place.parent
    (top / "Tuberculosis").mkdir()
    with pytest.raises(DataError, match="class 'Tuberculosis', expected one of"):
        read().setup()


def test_a_missing_class_is_named(drawn):
    place, read = drawn
    shutil.rmtree(place)
    with pytest.raises(MissingDataError, match=place.name):
        read().setup()


def test_an_empty_class_is_named(drawn):
    place, read = drawn
    for path in place.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="no image in it"):
        read().setup()


def test_another_file_is_named_and_a_hidden_one_ignored(drawn):
    place, read = drawn
    (place / ".DS_Store").write_text("")
    read().setup()
    (place / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"notes\.txt: expected only files of type"):
        read().setup()


def test_a_truncated_image_is_named(drawn):
    place, read = drawn
    path = next(place.iterdir())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    module = read()
    with pytest.raises(DataError, match=rf"{path.name}: cannot be decoded"):
        [list(module.dataset(split)) for split in ("train", "val", "test")]


def test_chest_xray_keeps_the_published_splits(make):
    for split in ("train", "val", "test"):
        for entry in make("chest_xray").dataset(split).entries:
            assert entry.files[0].parent.parent.name == split
            assert entry.id.startswith(f"chest_xray/{split}/")


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("person12_virus_34", "person12"),
        ("person12_bacteria_35", "person12"),
        ("person123_bacteria_35", "person123"),
        ("IM-0115-0001", "IM-0115"),
        ("IM-0429-0001-0002", "IM-0429"),
        ("NORMAL2-IM-0746-0001", "NORMAL2-IM-0746"),
        ("COVID-12", "COVID-12"),
    ],
)
def test_patients_in_names(stem, expected):
    assert patient(stem) == expected


def test_brain_tumor_mri_cuts_validation_from_training(make):
    module = make("brain_tumor_mri")
    counts = module.manifest.counts()
    for split in ("train", "val"):
        assert all("Training" in e.files[0].parts for e in module.dataset(split).entries)
    assert all("Testing" in e.files[0].parts for e in module.dataset("test").entries)
    training = sum(counts["train"].values()) + sum(counts["val"].values())
    assert sum(counts["val"].values()) == pytest.approx(0.1 * training, abs=4)
    other = make("brain_tumor_mri", split_seed=3)
    assert other.manifest.digest != module.manifest.digest
    assert [e.id for e in other.dataset("test").entries] == [
        e.id for e in module.dataset("test").entries
    ]


def test_the_unused_class_of_the_radiography_database_is_allowed(make_own):
    module = make_own("covid_radiography")
    module.prepare_data()
    (module.folder / "COVID-19_Radiography_Dataset" / "Lung_Opacity").mkdir()
    assert len(module.manifest.records) == 100
