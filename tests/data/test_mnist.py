"""MNIST: read as torchvision reads it, fetched as torchvision fetches it, damage named."""

import gzip
import hashlib
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pytest
import torch
from torchvision import datasets

from medrobust.data.core.error import DataError, MissingDataError
from medrobust.data.mnist import MNIST

FILES = [f"{p}-{k}-ubyte" for p in ("train", "t10k") for k in ("images-idx3", "labels-idx1")]


@pytest.fixture
def drawn(make_own):
    module = make_own("mnist")
    module.prepare_data()
    return module.folder


def read(folder, **keys):
    return MNIST(folder, folder.parent / "m", **keys)


def test_the_same_pixels_and_labels_as_torchvision(drawn):
    module = read(drawn)
    assert (module.key, module.channels) == ("mnist_28px", 1)
    for part, splits in (("train", ("train", "val")), ("test", ("test",))):
        published = datasets.MNIST(drawn, train=part == "train")
        samples = {s.id: s for split in splits for s in module.dataset(split)}
        assert len(samples) == len(published)
        for row in range(len(published)):
            sample = samples[f"mnist/{part}/{row}"]
            assert torch.equal((sample.image[0] * 255).round().byte(), published.data[row])
            assert sample.label == published.targets[row]


def test_validation_is_a_tenth_of_the_training_set_by_class_and_seed(drawn):
    counts = read(drawn).manifest.counts()
    training = np.bincount(datasets.MNIST(drawn).targets)
    assert sum(counts["val"].values()) == 10  # each of ten classes gives a tenth, at least one
    for digit in range(10):
        assert counts["train"][digit] + counts["val"][digit] == training[digit]
    other = read(drawn, split_seed=1)
    assert {e.id for e in read(drawn).dataset("val").entries} != {
        e.id for e in other.dataset("val").entries
    }
    assert len(other.dataset("test")) == len(read(drawn).dataset("test"))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(drawn, tmp_path, monkeypatch):
    """The files of the phantom, packed, on a server that torchvision takes for its own."""
    shelf = tmp_path / "server"
    shelf.mkdir()
    resources = []
    for name in FILES:
        packed = gzip.compress((drawn / "MNIST/raw" / name).read_bytes())
        (shelf / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=shelf))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
    monkeypatch.setattr(datasets.MNIST, "resources", resources)
    yield shelf
    server.shutdown()
    server.server_close()


def test_missing_files_are_fetched_once_where_asked(drawn, server, tmp_path):
    fetched = tmp_path / "fetched"
    with pytest.raises(MissingDataError, match="train-images-idx3-ubyte"):
        read(fetched).setup()
    module = read(fetched, download=True)
    assert len(module.dataset("test")) == len(read(drawn).dataset("test"))
    for packed in server.iterdir():
        packed.unlink()
    read(fetched, download=True).setup()  # nothing is asked for again


def test_a_damaged_download_is_refused(server, tmp_path):
    (server / "t10k-images-idx3-ubyte.gz").write_bytes(b"other")
    with pytest.raises(RuntimeError, match="t10k-images"):
        read(tmp_path / "fetched", download=True).setup()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda content: content[:-1],
            r"train-images-idx3-ubyte: \d+ bytes that begin with 00000803",
        ),
        (lambda content: b"", "train-images-idx3-ubyte: 0 bytes"),
        (gzip.compress, "begin with 1f8b0800, expected an unpacked IDX file"),
    ],
)
def test_a_damaged_file_is_named(drawn, damage, message):
    path = drawn / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        read(drawn).setup()


def test_images_without_labels_are_named(drawn):
    raw = drawn / "MNIST/raw"
    (raw / "train-labels-idx1-ubyte").write_bytes((raw / "t10k-labels-idx1-ubyte").read_bytes())
    with pytest.raises(DataError, match=r"\d+ images and \d+ labels in the train files"):
        read(drawn).setup()
