"""Files that carry a checksum of their content: damage is noticed when they are read.

A file of bytes ends in a line with the checksum, which readers of NumPy archives skip; a note of
plain data has it as one more key. Files without one, of earlier versions, are read all the same.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from medrobust.fingerprint import digest
from medrobust.result.store import write_atomically

_SEAL = re.compile(rb"\n# sha256 ([0-9a-f]{64})\n\Z")
_LENGTH = len("\n# sha256 \n") + 64


class SealError(ValueError):
    """A file whose content is not what was written; its message says so without the path."""


class Sealed(NamedTuple):
    """Content of a sealed file.

    Attributes:
        content: as written.
        checked: whether the file has a checksum.
    """

    content: bytes
    checked: bool


def write_sealed(path: Path, content: bytes) -> None:
    """Write a file with its checksum, whole or not at all."""
    write_atomically(path, content + b"\n# sha256 %s\n" % _sha256(content))


def read_sealed(path: Path) -> Sealed:
    """Return what `write_sealed` wrote, or all of a file without a checksum.

    Raises:
        FileNotFoundError: no such file.
        SealError: the content does not match its checksum.
    """
    data = path.read_bytes()
    seal = _SEAL.search(data, max(0, len(data) - _LENGTH))
    if seal is None:
        return Sealed(data, checked=False)
    content = data[: seal.start()]
    if seal[1] != _sha256(content):
        raise SealError("its checksum does not match")
    return Sealed(content, checked=True)


def write_note(path: Path, note: Mapping[str, Any]) -> None:
    """Write plain data as JSON with its checksum, whole or not at all."""
    data = {**note, "checksum": digest(dict(note))}
    write_atomically(path, json.dumps(data, indent=1).encode())


def read_note(path: Path) -> dict[str, Any]:
    """Return what `write_note` wrote, without the checksum; an earlier version wrote none.

    Raises:
        OSError: the file cannot be read.
        SealError: no mapping in JSON, or its content does not match its checksum.
    """
    try:
        note = json.loads(path.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise SealError(f"it is not JSON: {error}") from None
    if not isinstance(note, dict):
        raise SealError(f"it holds a {type(note).__name__}, not a mapping")
    if "checksum" in note and note.pop("checksum") != digest(note):
        raise SealError("its checksum does not match")
    return note


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
