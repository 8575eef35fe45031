"""Unpack a downloaded zip or tar, atomically and only into the given folder."""

import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from medrobust.data.core.error import DataError
from medrobust.result.folder import make_folder

_CHUNK = 2**20  # bytes
_LONGEST = 255  # bytes of a file name, on every usual file system


def unpack(archive: str | Path, folder: str | Path) -> list[Path]:
    """Unpack the files of an archive into a folder.

    All members are checked before the first byte is written, and files are moved into place only
    when all are unpacked: a refused or damaged archive leaves nothing behind.

    Args:
        archive: `.zip`, or `.tar` with any compression.
        folder: created when absent; existing files are not replaced.

    Returns:
        The files written.

    Raises:
        DataError: not such an archive, or damaged; a member that would land outside the folder, or
            is a link or a device; a file that already exists; more bytes than the disk has left.
    """
    archive, folder = Path(archive), Path(folder)
    if archive.is_dir():
        raise DataError(
            f"{archive} is a folder, expected a zip or tar file; name the downloaded file itself, "
            "or copy a folder that is unpacked already"
        )
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                names, size = _zip_names(archive, opened)
                return _move_in(archive, folder, names, size, opened.extractall)
        with tarfile.open(archive) as opened_tar:
            names, size = _tar_names(archive, opened_tar)
            return _move_in(archive, folder, names, size, lambda at: _untar(opened_tar, at))
    except (DataError, NotADirectoryError):
        raise
    except Exception as error:  # a damaged archive can raise almost anything
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a fault of the disk, not of the archive
        raise DataError(
            f"{archive}: not a zip or tar, or damaged or encrypted ({error}); nothing was "
            "unpacked, fetch it again"
        ) from error


def _untar(opened: tarfile.TarFile, folder: str) -> None:
    """Unpack a tar to its end, where the compression keeps its checksum.

    Raises:
        tarfile.ReadError: the end mark is missing or damaged, so members may be missing.
    """
    # Names are checked already; "data" also drops owners and special modes.
    opened.extractall(folder, filter="data")
    stream = opened.fileobj
    assert stream is not None
    stream.seek(opened.offset)
    size = 0
    while rest := stream.read(_CHUNK):
        size += len(rest)
        if rest.strip(b"\0"):
            raise tarfile.ReadError(f"a damaged header at byte {opened.offset}")
    if size < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it is truncated: the end mark is missing")


def _zip_names(archive: Path, opened: zipfile.ZipFile) -> tuple[list[str], int]:
    names = []
    for member in opened.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refused(archive, member.filename, "is a link or a device")
        if not member.is_dir():
            # Not `filename`, which zipfile cuts at a null byte.
            names.append(member.orig_filename)
    return names, sum(member.file_size for member in opened.infolist())


def _tar_names(archive: Path, opened: tarfile.TarFile) -> tuple[list[str], int]:
    names, size = [], 0
    for member in opened:
        if not (member.isreg() or member.isdir()):
            raise _refused(archive, member.name, "is a link or a device")
        if member.isreg():
            names.append(member.name)
            size += member.size
        else:
            _check_name(archive, member.name)
    return names, size


def _move_in(
    archive: Path, folder: Path, names: Sequence[str], size: int, extract: Callable[[str], object]
) -> list[Path]:
    _check_names(archive, folder, names)
    make_folder(folder)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DataError(
            f"{archive}: unpacks to {size / 2**30:.1f} GiB, the disk of {folder} has "
            f"{free / 2**30:.1f} GiB left; nothing was unpacked"
        )
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack.") as temporary:
        extract(temporary)
        written = []
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (Path(temporary) / name).rename(target)
            written.append(target)
    return written


def _check_names(archive: Path, folder: Path, names: Iterable[str]) -> None:
    seen: set[PurePosixPath] = set()
    inside = folder.resolve()
    for name in names:
        path = _check_name(archive, name)
        if path in seen:
            raise _refused(archive, name, "occurs twice")
        seen.add(path)
        # An existing link in the folder could point outside it.
        if not (folder / path).resolve().is_relative_to(inside):
            raise _refused(archive, name, f"leads out of {folder} by a link in it")
        if (folder / path).exists():
            raise _refused(archive, name, f"exists in {folder}; delete it, or name another folder")


def _check_name(archive: Path, name: str) -> PurePosixPath:
    path, windows = PurePosixPath(name), PureWindowsPath(name)
    if path.is_absolute() or windows.is_absolute() or windows.drive or name.startswith("\\"):
        raise _refused(archive, name, "is an absolute path")
    if ".." in path.parts or ".." in windows.parts:
        raise _refused(archive, name, "leads out of the folder")
    if "\0" in name or not path.parts or any(len(_bytes(p)) > _LONGEST for p in path.parts):
        raise _refused(archive, name, "is not a file name")
    return path


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _refused(archive: Path, name: str, why: str) -> DataError:
    return DataError(f"{archive}: member {name!r} {why}; nothing was unpacked")
