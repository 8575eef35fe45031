"""Arrays beside a row: as written, or a clear word of what is wrong."""

from pathlib import Path

import numpy as np
import pytest

from medrobust.result.arrays import ArraysError, read_arrays, write_arrays

ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "names": np.array(["x", "yy"])}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", "toys 1", ARRAYS)
    found = read_arrays(tmp_path / "a.npz", "toys 1")
    assert found is not None
    assert set(found) == set(ARRAYS)
    for name, value in ARRAYS.items():
        np.testing.assert_array_equal(found[name], value)


def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        write_arrays(tmp_path / name, "toys 1", ARRAYS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_no_file_is_nothing(tmp_path: Path) -> None:
    assert read_arrays(tmp_path / "a.npz", "toys 1") is None


def test_another_kind_is_refused(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", "toys 1", ARRAYS)
    with pytest.raises(ArraysError, match=r"holds toys 1, expected toys 2; run its cell"):
        read_arrays(tmp_path / "a.npz", "toys 2")


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_arrays(path, "toys 1", ARRAYS)
    whole = path.read_bytes()
    for cut in (1, 40, 80, 200, len(whole)):
        path.write_bytes(whole[:-cut])
        with pytest.raises(ArraysError, match=r"a\.npz is damaged .*; run its cell again"):
            read_arrays(path, "toys 1")


def test_no_code_is_run(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, kind=np.array("toys 1"), a=np.array([print], dtype=object))
    with pytest.raises(ArraysError, match=r"damaged .*pickle"):
        read_arrays(path, "toys 1")
