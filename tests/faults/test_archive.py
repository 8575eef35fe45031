"""Archives that would write elsewhere are refused before anything is written."""

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from medrobust.data import archive as archive_module
from medrobust.data.archive import main, unpack
from medrobust.data.error import DataError

Make = Callable[[Path, str], None]


def zipped(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("images/good.png", b"good")
        file.writestr(name, b"evil")


def tarred(path: Path, name: str) -> None:
    with tarfile.open(path, "w:gz") as file:
        for member, content in (("images/good.png", b"good"), (name, b"evil")):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "disk" / "data" / "set"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "images/../../evil",
        "../../../../evil",
        "/tmp/evil",
        "..\\evil",
        "C:\\evil",
        "C:e",
    ],
)
def test_a_path_that_leads_out_is_refused(
    make: Make, name: str, place: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "download"
    make(archive, name)
    before = files(tmp_path)
    with pytest.raises(DataError, match="nothing was unpacked"):
        unpack(archive, place)
    assert files(tmp_path) == before
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "images/good.png"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_link_or_device_in_a_tar_is_refused(
    target: str, kind: bytes, place: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "download.tar"
    with tarfile.open(archive, "w") as file:
        info = tarfile.TarInfo("images")
        info.type, info.linkname = kind, target
        file.addfile(info)
        through = tarfile.TarInfo("images/evil")
        through.size = 4
        file.addfile(through, io.BytesIO(b"evil"))
    with pytest.raises(DataError, match="is a link or a device"):
        unpack(archive, place)
    assert list(place.iterdir()) == []


def test_a_link_in_a_zip_is_refused(place: Path, tmp_path: Path) -> None:
    archive = tmp_path / "download.zip"
    with zipfile.ZipFile(archive, "w") as file:
        info = zipfile.ZipInfo("images")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(info, "../../outside")
        file.writestr("images/evil", b"evil")
    with pytest.raises(DataError, match="is a link or a device"):
        unpack(archive, place)
    assert list(place.iterdir()) == []


def test_a_link_that_is_there_already_leads_nowhere(place: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (place / "images").symlink_to(outside)
    archive = tmp_path / "download.zip"
    zipped(archive, "more.png")
    with pytest.raises(DataError, match="leads out of"):
        unpack(archive, place)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_good_archive_is_unpacked_and_nothing_replaced(
    make: Make, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "download"
    make(archive, "masks/more.png")
    assert main([str(archive), str(place)]) == 0
    assert files(place) == ["images/good.png", "masks/more.png"]
    assert (place / "images/good.png").read_bytes() == b"good"
    (place / "images/good.png").write_bytes(b"mine")
    assert main([str(archive), str(place)]) == 2
    assert "exists in" in capsys.readouterr().err
    assert (place / "images/good.png").read_bytes() == b"mine"


@pytest.mark.parametrize("make", [zipped, tarred])
def test_a_damaged_archive_leaves_nothing(make: Make, place: Path, tmp_path: Path) -> None:
    archive = tmp_path / "download"
    make(archive, "masks/more.png")
    whole = archive.read_bytes()
    for keep in (0, 10, len(whole) // 2):
        archive.write_bytes(whole[:keep])
        with pytest.raises(DataError, match="damaged"):
            unpack(archive, place)
        assert list(place.iterdir()) == []


def test_a_flipped_byte_in_a_zip_leaves_nothing(place: Path, tmp_path: Path) -> None:
    archive = tmp_path / "download.zip"
    zipped(archive, "masks/more.png")
    content = bytearray(archive.read_bytes())
    content[content.index(b"evil")] ^= 1
    archive.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, place)
    assert list(place.iterdir()) == []


def test_what_does_not_fit_is_not_begun(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "download.zip"
    zipped(archive, "more.png")
    full = type("Usage", (), {"free": 3})
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda _: full)
    with pytest.raises(DataError, match="the disk of"):
        unpack(archive, place)
    assert list(place.iterdir()) == []
