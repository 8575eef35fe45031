"""A full disk leaves the last good state."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Whole
from tests.faults.sweeps import MATRIX, Zygote, left


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root; test_no_room_for injects the error instead")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def nothing_torn(outputs: Path) -> None:
    assert not list(outputs.rglob(".*.safetensors.*"))
    assert not list((outputs / "rows").glob(".*.json.*"))


@pytest.mark.slow
def test_a_disk_that_is_really_full(
    small_disk: Path, zygote: Zygote, outputs: Path, whole: Whole
) -> None:
    """The cache's disk has no room for an adversarial set, then has."""
    ballast = small_disk / "ballast"
    cache = [f"paths.cache={small_disk / 'cache'}"]
    ballast.write_bytes(b"x" * (2 * 2**20 - 64 * 1024))
    assert zygote.run(outputs, *MATRIX, *cache) == 1
    failed = left(outputs).rows
    assert [row["status"] for row in failed.values()] == ["failed"] * 4
    for row in failed.values():
        assert f"the disk of {small_disk / 'cache'}" in row["error"]
        assert "is full" in row["error"]
    assert not list(small_disk.rglob("*.safetensors*"))

    ballast.unlink()
    assert zygote.run(outputs, *MATRIX, *cache) == 0, (outputs / "log").read_text()
    assert left(outputs).rows == whole.left.rows


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status"), [("cache", "failed"), ("row", None)])
def test_no_room_for(
    name: str, status: str | None, zygote: Zygote, outputs: Path, whole: Whole
) -> None:
    """For sets: their cells fail. For rows: not even that can be noted, and the sweep ends."""
    half = [word.replace("bim,pgd", "bim") for word in MATRIX]
    assert zygote.run(outputs, *half) == 0
    before = left(outputs)
    assert len(before.rows) == 2
    assert zygote.run(outputs, *MATRIX, full=name) == 1
    assert "is full" in (outputs / "log").read_text()
    nothing_torn(outputs)
    after = left(outputs)
    for row_id, row in before.rows.items():
        assert after.rows[row_id] == row
        assert after.written[row_id] == before.written[row_id]
    new = [row["status"] for row_id, row in after.rows.items() if row_id not in before.rows]
    assert new == ([status, status] if status else [])
    assert zygote.run(outputs, *MATRIX) == 0
    assert left(outputs).rows == whole.left.rows
