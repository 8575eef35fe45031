"""Files beside a row: what was written comes back, and damage is one clear error of one file."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from medrobust.evaluation.known import is_complete
from medrobust.evaluation.record.requests import Requests
from medrobust.logger.cell import kept_pictures
from medrobust.result.arrays import ArraysError, write_arrays
from medrobust.result.convergence import Convergence
from medrobust.result.iterates import Iterates
from medrobust.result.maps import Maps, Side
from medrobust.result.per_image import PerImage
from medrobust.result.picture import PictureError, read_picture, write_picture
from medrobust.result.row import Row
from medrobust.result.scores import Scores
from medrobust.result.sealed import SealError, read_note, read_sealed, write_note
from medrobust.result.sidecar import READERS, State, all_paths, gone, present, state
from medrobust.result.store import RowStore

IDS = ("set/0", "set/1")


def side() -> Side:
    return Side(
        images=np.zeros((2, 3, 3, 1), np.uint8),
        victim_label=np.array([0, 1]),
        defended_label=np.array([1, 1]),
        confidence=np.array([0.5, np.nan]),
        abstain=np.array([False, True]),
        victim={"layer": np.ones((2, 1, 1), np.float32)},
        defended={"layer": np.ones((2, 1, 1), np.float32)},
    )


def png(width: int = 16, height: int = 8) -> bytes:
    file, info = io.BytesIO(), PngInfo()
    info.add_itxt("Description", "\n".join(IDS))
    Image.new("RGB", (width, height)).save(file, format="PNG", pnginfo=info)
    return file.getvalue()


WRITE: dict[str, Callable[[Path], object]] = {
    "png": lambda path: write_picture(path, png()),
    "maps.npz": Maps(IDS, np.array([0, 1]), ("a", "b"), ("layer",), 2, side(), side()).write,
    "iterates.npz": Iterates(
        IDS, 2, (1, 2), np.zeros((2, 3, 3, 1), "f4"), np.ones((2, 2, 3, 3, 1), "f4"), 0.1
    ).write,
    "convergence.npz": Convergence(
        *(IDS, 2, np.array([2, 1]), np.array([1, 2, 1]), np.ones(3), np.ones(3, np.bool_)),
        *(np.array([0, 1, 0]), ("pgd", "square")),
    ).write,
    "scores.npz": Scores(
        np.zeros(2), np.ones(2), np.array([True, True]), np.array([True, False]), 0.5, True
    ).write,
    "images.npz": PerImage(
        IDS, {"dice": np.array([0.5, np.nan]), "member": np.array([-1, 1])}, ("pgd", "fab"), False
    ).write,
}


def bomb() -> bytes:
    """A PNG of 400 megapixels in a few hundred bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part)
        for part in ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b""))
    )


def rewritten(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The arrays of a file changed, and written without a checksum, as earlier versions did."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    change(arrays)
    with path.open("wb") as target:
        np.savez_compressed(target, **arrays)


@pytest.mark.parametrize("ending", READERS)
def test_any_flipped_bit_is_noticed(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{ending}"
    WRITE[ending](path)
    whole = path.read_bytes()
    assert READERS[ending](path) is not None
    places = range(0, len(whole), max(1, len(whole) // 90))
    noticed = 0
    for place in places:
        content = bytearray(whole)
        content[place] ^= 0x10
        path.write_bytes(content)
        noticed += len(state([path]).damage)
    assert noticed == len(places)


@pytest.mark.parametrize("ending", READERS)
def test_a_file_of_an_earlier_version_is_read_and_known_to_be_unchecked(
    ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    WRITE[ending](path)
    assert state([path]).unchecked == ()
    path.write_bytes(read_sealed(path).content)
    found = state([path])
    assert found.damage == ()
    assert found.unchecked == (path,)


def test_scores_of_masks_of_an_earlier_version_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.images.npz"
    write_arrays(path, "per image 1", {"ids": np.array(IDS), "dice": np.array([0.5, 1.0])})
    assert state([path]) == State((), ())
    found = PerImage.read(path)
    assert found is not None
    assert (found.ids, found.members, list(found.columns)) == (IDS, (), ["dice"])
    assert (found.random, found.draws("dice")) == (None, None)
    write_arrays(path, "per image 4", {"ids": np.array(IDS)})
    with pytest.raises(ArraysError, match=r"holds per image 4, expected per image 3; run its cell"):
        PerImage.read(path)


@pytest.mark.parametrize(
    ("ending", "name", "value"),
    [
        ("maps.npz", "taps", None),
        ("maps.npz", "clean.victim.layer", None),
        ("maps.npz", "labels", np.array([0, 7])),
        ("maps.npz", "adversarial.defended_label", np.array([0])),
        ("maps.npz", "clean.images", np.zeros((2, 3), np.uint8)),
        ("iterates.npz", "eps", None),
        ("iterates.npz", "perturbations", np.ones((2, 1, 3, 3, 1), "f4")),
        ("convergence.npz", "loss", np.ones(2)),
        ("convergence.npz", "counts", np.array([4, -1])),
        ("convergence.npz", "stage", np.array([0, 1, 2])),
        ("scores.npz", "fooled", None),
        ("scores.npz", "adversarial", np.ones(3)),
        ("scores.npz", "threshold", np.array(["x"])),
        ("images.npz", "ids", None),
        ("images.npz", "dice", np.ones(3)),
        ("images.npz", "member", np.array([0, 2])),
        ("images.npz", "member", np.array([-2, 0])),
        ("images.npz", "members", np.zeros(2)),
        ("images.npz", "random", np.zeros(2)),
    ],
)
def test_a_lacking_or_odd_array_is_named(
    ending: str, name: str, value: Any, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    WRITE[ending](path)
    rewritten(
        path, lambda arrays: arrays.pop(name) if value is None else arrays.update({name: value})
    )
    with pytest.raises(ArraysError, match=rf"a\.{ending}.*{name}.*; run its cell again"):
        READERS[ending](path)


def test_whatever_a_library_raises_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.scores.npz"
    WRITE["scores.npz"](path)
    with zipfile.ZipFile(path) as file:
        place = file.getinfo("clean.npy").header_offset + 60
    content = bytearray(read_sealed(path).content)
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ArraysError, match=r"a\.scores\.npz is damaged"):
        Scores.read(path)
    np.save(path.open("wb"), np.arange(3))
    with pytest.raises(ArraysError, match=r"a\.scores\.npz is damaged"):
        Scores.read(path)


@pytest.mark.parametrize("content", [bomb(), b"", png()[:-20], png(8, 1)])
def test_a_bad_picture_is_named_and_costs_itself(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=r"a\.png is damaged .*; run its cell again"):
        read_picture(path)
    assert kept_pictures(path) == {}
    assert "a.png is damaged" in caplog.text


def test_a_damaged_file_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = RowStore(tmp_path)
    for ending in READERS:
        WRITE[ending](tmp_path / f"row.{ending}")
    row = Row("row", "done", {}, files=present(store, "row"))
    assert row.files == list(READERS)
    assert is_complete(store, row, Requests())
    for path in (store.picture("row"), store.scores("row"), store.per_image("row")):
        whole = path.read_bytes()
        path.write_bytes(whole[:50])
        assert not is_complete(store, row, Requests(None, None))
        assert f"making again: {path} is damaged" in caplog.text
        path.unlink()
        assert gone(store, row) == [f"{path} is gone; run its cell again to recreate it"]
        assert not is_complete(store, row, Requests(None, None))
        assert is_complete(store, replace(row, files=[]), Requests(None, None))  # of format 5
        path.write_bytes(whole)
    assert [path.name for path in all_paths(store)] == sorted(f"row.{name}" for name in READERS)


@pytest.mark.parametrize("change", ["{", "[]", '{"a": 1, "checksum": "0"}', "[" * 100_000, None])
def test_a_damaged_note_is_told(change: str | None, tmp_path: Path) -> None:
    path = tmp_path / "note.json"
    write_note(path, {"row": "abc", "status": "done"})
    assert read_note(path) == {"row": "abc", "status": "done"}
    path.write_text(path.read_text().replace("abc", "abd") if change is None else change)
    with pytest.raises(SealError):
        read_note(path)
    path.write_text(json.dumps({"row": "abc"}))  # of an earlier version
    assert read_note(path) == {"row": "abc"}
