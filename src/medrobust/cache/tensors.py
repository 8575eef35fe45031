"""Cache of named tensors on disk, by key: atomic, checksummed, never executed."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from medrobust.fingerprint import digest, digest_tensors
from medrobust.result.lock import locked
from medrobust.result.store import write_atomically

_log = logging.getLogger(__name__)


class Entry(NamedTuple):
    """Entry of the cache.

    Attributes:
        tensors: tensors by name, on the host.
        meta: plain data stored with them.
    """

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


class DamagedError(ValueError):
    """Raised when a file of the cache is not what was written."""


class TensorCache:
    """Folder of safetensors files.

    A file is written to a temporary name, synced and renamed. It carries a SHA-256 of its tensors
    and their metadata. A damaged file is reported and recomputed. If two processes want the same
    key, one computes it and the other waits.

    Args:
        folder: folder of the cache, created on first write.
        replay: use existing entries; else recompute all of them.
    """

    def __init__(self, folder: str | Path, *, replay: bool = True) -> None:
        self.folder = Path(folder)
        self.replay = replay

    def path(self, key: str) -> Path:
        """Return the file of a key."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def keys(self) -> list[str]:
        """Return the keys that have a file, intact or not, in order."""
        return sorted(path.stem for path in self.folder.glob("??/[!.]*.safetensors"))

    def in_use(self) -> AbstractContextManager[None]:
        """Return the lock to hold from before a row's entries are used until the row is written."""
        return locked(self.lock_path("in_use"), f"cache {self.folder}", shared=True)

    def lock_path(self, name: str) -> Path:
        """Return the file of a lock, named by a key or `in_use`."""
        return self.folder / ".locks" / f"{name}.lock"

    def read(self, key: str) -> Entry | None:
        """Return the entry, or None if it is absent.

        Raises:
            DamagedError: the file is not an entry, or does not match its checksum.
        """
        path = self.path(key)
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError) as error:
            raise DamagedError(f"{path} is damaged ({error})") from None
        meta = header.get("meta", "")
        if header.get("key") != key or header.get("sha256") != _checksum(tensors, meta):
            raise DamagedError(f"{path} does not match its checksum")
        return Entry(tensors, json.loads(meta))

    def get(self, key: str) -> Entry | None:
        """Return the entry, or None if it is absent or damaged (which is logged)."""
        try:
            return self.read(key)
        except DamagedError as error:
            _log.warning("%s; it is made again", error)
            return None

    def put(self, key: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write an entry, replacing an old one atomically."""
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        text = json.dumps(dict(meta), sort_keys=True)
        header = {"key": key, "sha256": _checksum(plain, text), "meta": text}
        write_atomically(self.path(key), save(plain, metadata=header))

    @contextmanager
    def slot(self, key: str | None) -> Iterator["Slot"]:
        """Reserve an entry and yield its slot, which holds the entry or must be filled.

        One process fills the slot while others wait for the result.

        Args:
            key: fingerprint of everything the entry depends on; None if unknown, then nothing is
                stored.
        """
        slot = Slot(self, key)
        seen = None if key is None else _stamp(self.path(key))
        if key is not None:
            slot.found = self._wanted(key)
        if key is None or slot.found is not None:
            yield slot
            return
        with locked(self.lock_path(key), f"cache entry {key[:12]}"):
            if _stamp(self.path(key)) != seen:  # another process made it meanwhile
                slot.found = self._wanted(key)
            yield slot

    def _wanted(self, key: str) -> Entry | None:
        return self.get(key) if self.replay else None


@dataclass
class Slot:
    """Reserved entry of the cache.

    Attributes:
        cache: cache of the entry.
        key: key of the entry; None if it is not stored.
        found: existing entry; None if it must be computed.
        made: entry stored by `fill`.
    """

    cache: TensorCache
    key: str | None
    found: Entry | None = None
    made: Entry | None = None

    @property
    def entry(self) -> Entry:
        """Return the entry, found or made."""
        entry = self.found or self.made
        assert entry is not None, "an empty slot was left unfilled"
        return entry

    def fill(self, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Store the entry and read it back, so that a hit and a miss give equal bytes.

        Raises:
            OSError: the new file cannot be read back.
        """
        if self.key is None:
            whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
            self.made = Entry(whole, dict(meta))
            return
        self.cache.put(self.key, tensors, meta)
        self.made = self.cache.get(self.key)
        if self.made is None:
            path = self.cache.path(self.key)
            raise OSError(f"{path} was written but cannot be read back; check the disk")


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return a stamp that differs between a file and its replacement."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _checksum(tensors: Mapping[str, Tensor], meta: str) -> str:
    return digest([digest_tensors(tensors), meta])
