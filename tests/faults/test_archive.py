"""Archives that would write elsewhere are refused before anything is written."""

import io
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from medrobust.cli.unpack import main
from medrobust.data.core import archive as archive_module
from medrobust.data.core.archive import unpack
from medrobust.data.core.error import DataError

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


def many(path: Path, mode: str) -> None:
    """A tar of files that no compression can make smaller."""
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for number in range(6):
            info = tarfile.TarInfo(f"{number}.bin")
            info.size = 3000
            file.addfile(info, io.BytesIO(random.Random(number).randbytes(info.size)))


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_any_flipped_bit_of_a_compressed_tar_leaves_nothing(
    mode: str, place: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "download"
    many(archive, mode)
    whole = archive.read_bytes()
    for at in [*range(20, len(whole), len(whole) // 40), len(whole) - 6]:
        content = bytearray(whole)
        content[at] ^= 4
        archive.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            unpack(archive, place)
        assert list(place.iterdir()) == []
    archive.write_bytes(whole)
    assert len(unpack(archive, place)) == 6


@pytest.mark.parametrize("cut", [None, 2 * 3584])
def test_a_tar_that_loses_members_leaves_nothing(
    cut: int | None, place: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "download.tar"
    many(archive, "w")
    content = bytearray(archive.read_bytes())
    content[2 * 3584 + 20] ^= 4  # in the header of the third of six
    archive.write_bytes(content if cut is None else content[:cut])
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, place)
    assert list(place.iterdir()) == []


def odd_zips(path: Path, kind: str) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("n" * (300 if kind == "long name" else 3), bytes(5000))
    content = bytearray(path.read_bytes())
    if kind == "encrypted":
        content[6] |= 1
        content[content.index(b"PK\1\2") + 8] |= 1
    if kind == "stream":  # zlib raises its own error
        content[33 : 33 + 6] = b"\xff" * 6
    if kind == "name":  # said to be UTF-8
        for start, flag in ((30, 7), (content.index(b"PK\1\2") + 46, None)):
            content[start] = 0xFF
            content[7 if flag else content.index(b"PK\1\2") + 9] |= 8
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["encrypted", "stream", "name", "long name"])
def test_whatever_a_library_raises_names_the_archive(
    kind: str, place: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "download.zip"
    odd_zips(archive, kind)
    with pytest.raises(DataError, match=r"download\.zip: .*nothing was unpacked"):
        unpack(archive, place)
    assert list(place.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(place: Path, tmp_path: Path) -> None:
    archive = tmp_path / "download.zip"
    zipped(archive, "more.png")
    (place / "set").touch()
    with pytest.raises(NotADirectoryError, match="set is a file, expected a folder"):
        unpack(archive, place / "set")


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


def test_a_folder_is_no_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), str(tmp_path / "data")]) == 2
    assert (
        f"unpack: {tmp_path} is a folder, expected a zip or tar file; " in capsys.readouterr().err
    )
