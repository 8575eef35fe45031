"""What every datamodule promises, shown on the phantom of every dataset."""

import logging

import pytest
import pytorch_lightning as pl
import torch

from medrobust.data.core.error import MissingDataError
from medrobust.data.core.split import SPLITS
from medrobust.task import task_of

ORDERED = ("dermamnist", "chest_xray", "kvasir_seg")  # one of arrays, of files, of masks


def test_samples_have_the_promised_types(name, make):
    module = make(name)
    for split in SPLITS:
        dataset = module.dataset(split)
        assert len(dataset) > 0
        image, label, _ = dataset[0]
        assert image.shape == (module.channels, module.size, module.size)
        assert image.dtype == torch.float32
        assert image.min() >= 0
        assert 0.2 < image.max() <= 1
        assert task_of(label[None]) == module.task
        if module.task == "detection":
            assert label[:, 1:].max() <= module.size
            label = label[:, 0]
        else:
            side = () if module.task == "classification" else (module.size, module.size)
            assert label.shape == side
        assert label.max() < module.num_classes == len(module.classes)


def test_ids_are_unique_stable_and_disjoint(name, make):
    first, second = make(name), make(name)
    ids = [[s.id for s in first.dataset(split)] for split in SPLITS]
    flat = [i for inside in ids for i in inside]
    assert len(set(flat)) == len(flat)
    assert all(i.startswith(f"{first.name}/") for i in flat)
    assert ids == [[s.id for s in second.dataset(split)] for split in SPLITS]
    assert set(flat) == {r.id for r in first.manifest.records}


def test_groups_share_a_split(name, make):
    module = make(name)
    groups = [{e.group for e in module.dataset(split).entries} for split in SPLITS]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]


def test_every_class_is_in_every_split(name, make):
    counts = make(name).manifest.counts()
    assert set(counts["train"]) == set(counts["val"]) == set(counts["test"])


@pytest.mark.parametrize("channels", [1, 3])
def test_channels_can_be_chosen(name, make, channels):
    module = make(name, channels=channels)
    image = module.dataset("test")[0].image
    assert module.channels == len(image) == channels
    if channels == 3 and module.native_channels == 1:
        assert (image[0] == image[2]).all()


def test_labels_are_those_of_the_samples(name, make):
    module = make(name)
    if module.task != "classification":
        with pytest.raises(TypeError, match=r"masks|boxes"):
            module.labels("test")
    else:
        assert module.labels("test").tolist() == [s.label.item() for s in module.dataset("test")]


def test_a_phantom_is_the_same_each_time(name, make, make_own):
    one, two = make(name), make_own(name)
    assert one.manifest.digest == two.manifest.digest
    assert one.key.endswith("_24px_phantom")
    notes = list(two.root.rglob("PHANTOM.json"))
    assert len(notes) == 1
    before = notes[0].stat().st_mtime_ns
    make_own(name).setup()
    assert notes[0].stat().st_mtime_ns == before


def test_missing_data_says_what_to_do(name, case, tmp_path):
    module = case.cls(tmp_path / "x", tmp_path / "m", **{"size": 24, **case.keys})
    with pytest.raises(MissingDataError) as caught:
        module.dataset("test")
    text = str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)
    for part in ("https://", "Licence:", "Download:", "data.root=", "data.phantom=true"):
        assert part in text
    assert str(tmp_path / "x") in text
    assert module.origin.licence in text
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("name", ORDERED)
def test_limits_are_nested(make, name):
    sets = [
        {e.id for e in make(name, limit_train=n).dataset("train").entries} for n in (7, 20, None)
    ]
    assert sets[0] < sets[1] < sets[2]
    assert (len(sets[0]), len(sets[1])) == (7, 20)
    limited = make(name, limit_test=3)
    assert (len(limited.dataset("test")), len(limited.dataset("val"))) == (
        3,
        len(make(name).dataset("val")),
    )
    # The manifest is of the dataset, whatever part of it is used.
    assert limited.manifest.digest == make(name).manifest.digest


@pytest.mark.parametrize("name", ["isic2019", "kvasir_seg", "covid_radiography"])
def test_the_split_seed_moves_images_and_changes_the_digest(make, name):
    first, second = make(name), make(name, split_seed=1)
    ids = [{e.id for e in m.dataset("test").entries} for m in (first, second)]
    assert ids[0] != ids[1]
    assert first.manifest.digest != second.manifest.digest


@pytest.mark.parametrize("name", ["dermamnist", "chest_xray"])
def test_official_splits_ignore_the_seed(make, name):
    assert make(name).manifest.digest == make(name, split_seed=1).manifest.digest


def test_size_and_channels_change_the_digest(make):
    # Another size under `phantom` would draw another phantom, so read the same files as real ones.
    drawn = make("chest_xray")
    drawn.setup()
    variants = [{}, {"size": 16}, {"channels": 3}]
    digests = {
        type(drawn)(drawn.folder, drawn.manifests / "v", **{"size": 24, **keys}).manifest.digest
        for keys in variants
    }
    assert len(digests) == 3


@pytest.mark.parametrize("name", ORDERED)
def test_one_changed_byte_changes_the_digest(make_own, name):
    module = make_own(name)
    before = module.manifest.digest
    assert make_own(name).manifest.digest == before
    if name == "dermamnist":
        import numpy as np

        path = module.folder / module.file
        with np.load(path) as npz:
            arrays = dict(npz)
        arrays["train_images"][3, 2, 1, 0] ^= 1
        np.savez(path, **arrays)
    else:
        path = module.dataset("train").entries[0].files[-1]
        path.write_bytes(path.read_bytes() + b"\0")
    assert make_own(name).manifest.digest != before


def test_the_manifest_spares_hashing_until_a_file_changes(make_own, monkeypatch):
    module = make_own("chest_xray")
    module.setup()
    hashed = []
    reader = type(module.reader())
    original = reader.sha256
    monkeypatch.setattr(reader, "sha256", lambda r, e: hashed.append(e.id) or original(r, e))
    again = make_own("chest_xray")
    assert again.manifest.records == module.manifest.records
    assert hashed == []
    path = module.dataset("test").entries[0].files[0]
    path.write_bytes(path.read_bytes() + b"\0")
    make_own("chest_xray").setup()
    assert len(hashed) == 100


def test_manifests_never_lie_among_raw_data(make_own):
    module = make_own("chest_xray")
    module.setup()
    assert not list(module.folder.rglob("*.csv"))
    assert len(list(module.manifests.rglob("*.csv"))) == 1


def test_only_training_is_shuffled_and_by_the_runs_seed(make):
    def order(loader):
        return [name for batch in loader for name in batch.id]

    module = make("chest_xray")
    pl.seed_everything(5, verbose=False)
    first = order(module.train_dataloader())
    torch.rand(7)  # numbers drawn in between do not matter
    assert order(make("chest_xray").train_dataloader()) == first
    pl.seed_everything(6, verbose=False)
    assert order(module.train_dataloader()) != first
    assert order(module.test_dataloader()) == [e.id for e in module.dataset("test").entries]
    loader = module.train_dataloader()
    assert order(loader) != order(loader)  # epochs differ


def test_workers_load_the_same(make):
    alone, helped = (make("chest_xray", workers=w).val_dataloader() for w in (0, 1))
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.image, b.image)
        assert list(a.id) == list(b.id)


def test_copies_across_splits_are_warned_of(make_own, caplog):
    module = make_own("chest_xray")
    module.prepare_data()
    folder = module.folder / "chest_xray"
    source = next((folder / "train" / "NORMAL").iterdir())
    (folder / "test" / "NORMAL" / "IM-9999-0001.jpeg").write_bytes(source.read_bytes())
    with caplog.at_level(logging.WARNING):
        module.setup()
    assert "1 images are in more than one split" in caplog.text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"size": 0}, "data.size is 0"),
        ({"size": None}, "data.size is None"),
        ({"channels": 2}, "data.channels is 2"),
        ({"phantom_n": 19}, "data.phantom_n is 19"),
        ({"limit_val": 0}, "data.limit_val=0 is out of range"),
    ],
)
def test_bad_numbers_are_refused(make_own, keys, message):
    with pytest.raises(ValueError, match=message):
        make_own("chest_xray", **keys).setup()


def test_unknown_split_is_refused(make):
    with pytest.raises(ValueError, match="'valid', expected one of"):
        make("chest_xray").dataset("valid")
