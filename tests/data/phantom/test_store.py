from collections import Counter

import numpy as np
import pytest
from PIL import Image

from medrobust.data.phantom.store import (
    class_labels,
    materialise,
    official_splits,
    phantom_folder,
    save_image,
)


def test_a_folder_is_written_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "phantom" / "x"

    def fails(inside):
        (inside / "half").write_text("")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        materialise(folder, fails)
    assert list(folder.parent.iterdir()) == []


def test_it_is_written_once(tmp_path):
    calls = []

    def write(inside):
        calls.append(inside)
        (inside / "image").write_text("drawn")

    materialise(tmp_path / "x", write)
    materialise(tmp_path / "x", write)
    assert len(calls) == 1
    assert (tmp_path / "x" / "image").read_text() == "drawn"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_the_first_of_two_writers_wins(tmp_path):
    def slow(inside):
        materialise(tmp_path / "x", lambda other: (other / "by").write_text("first"))
        (inside / "by").write_text("second")

    materialise(tmp_path / "x", slow)
    assert (tmp_path / "x" / "by").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_foreign_folder_is_not_taken_for_a_phantom(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("")
    with pytest.raises(FileExistsError, match="not a complete phantom"):
        materialise(tmp_path / "x", lambda inside: None)
    assert (tmp_path / "x" / "mine").exists()


def test_other_parameters_lie_elsewhere(tmp_path):
    folders = {phantom_folder(tmp_path, n, px) for n in (10, 20) for px in (28, 64)}
    assert len(folders) == 4


def test_labels_follow_their_shares():
    labels = class_labels(1000, (5, 3, 2), seed=0)
    assert Counter(labels.tolist()) == {0: 500, 1: 300, 2: 200}
    assert np.array_equal(labels, class_labels(1000, (5, 3, 2), seed=0))
    assert not np.array_equal(labels, class_labels(1000, (5, 3, 2), seed=1))
    assert min(Counter(class_labels(100, (1000, 1, 1), seed=0).tolist()).values()) == 10
    with pytest.raises(ValueError, match="at least 30"):
        class_labels(29, (1, 1, 1), seed=0)


def test_splits_are_stratified():
    labels = class_labels(1000, (5, 3, 2), seed=0)
    found = Counter(zip(labels.tolist(), official_splits(labels, val=0.1, test=0.2), strict=True))
    assert [found[c, "test"] for c in range(3)] == [100, 60, 40]
    assert [found[c, "val"] for c in range(3)] == [50, 30, 20]


@pytest.mark.parametrize(("name", "error"), [("a.png", 0), ("a.jpg", 6), ("a.jpeg", 6)])
def test_faint_textures_survive_saving(tmp_path, name, error):
    rng = np.random.default_rng(0)
    pixels = (128 + 20 * rng.standard_normal((32, 32, 3))).clip(0, 255).astype(np.uint8)
    save_image(tmp_path / "new" / name, pixels)
    read = np.array(Image.open(tmp_path / "new" / name)).astype(int)
    assert np.abs(read - pixels).mean() <= error
