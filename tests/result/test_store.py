import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from medrobust.result.row import Row, RowError
from medrobust.result.store import RowStore, write_atomically


def test_put_and_get(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "deep" / "rows")
    assert store.get("a") is None
    assert store.rows() == []
    failed, done = Row("a", "failed", {}, error="boom"), Row("a", "done", {})
    store.put(failed)
    assert store.get("a") == failed
    store.put(done)
    assert store.get("a") == done


def test_rows_are_in_the_order_asked(tmp_path: Path) -> None:
    store = RowStore(tmp_path)
    for name in "cab":
        store.put(Row(name, "done", {}))
    (tmp_path / ".d.json.123-ab").write_text("a part that a crash left")
    assert [row.id for row in store.rows()] == ["a", "b", "c"]
    assert [row.id for row in store.rows(["c", "x", "a", "c"])] == ["c", "a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "a.json is not text"),
        (b"", "a.json is not JSON"),
        (Row("b", "done", {}).to_json().encode(), "a.json holds row b"),
    ],
)
def test_damage_is_named_with_its_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RowError, match=message):
        RowStore(tmp_path).get("a")


def test_a_failed_write_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def crash(handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_readers_see_whole_files_while_others_write(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([letter]) * 100_000 for letter in b"abcd"]
    write_atomically(path, contents[0])

    def write(content: bytes) -> None:
        for _ in range(15):
            write_atomically(path, content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert path.read_bytes() in contents
    for thread in threads:
        thread.join()
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", ["file", "link", "loop"])
def test_a_folder_whose_name_is_taken_is_named(kind: str, tmp_path: Path) -> None:
    place = tmp_path / "outputs"
    if kind == "file":
        place.touch()
    else:
        place.symlink_to(place if kind == "loop" else tmp_path / "nowhere")
    store = RowStore(place / "rows")
    said = f"{place} is a {kind if kind == 'file' else 'link'}.*, expected a folder; move it away"
    with pytest.raises(NotADirectoryError, match=said):
        store.put(Row("a", "done", {}))
    with pytest.raises(NotADirectoryError, match=said), store.lock("a"):
        pass


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        write_atomically(tmp_path / "file", b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")

    def full(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"disk of {path.parent} is full.*prune") as caught:
        write_atomically(path, b"new")
    assert caught.value.errno == number
    assert path.read_bytes() == b"old"
    assert [item.name for item in path.parent.iterdir()] == ["file"]
