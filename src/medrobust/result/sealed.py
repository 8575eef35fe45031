"""Files with a checksum of their content, so that damage is detected on reading.

A file of bytes ends in a line with the checksum, which readers of NumPy archives skip. A note of
plain data has it as one more key. Files of earlier versions, without a checksum, are still read.
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
    """Raised when a file's content is not what was written; the message omits the path."""


class Sealed(NamedTuple):
    """Content of a sealed file.

    Attributes:
        content: content as written.
        checked: whether the file has a checksum.
    """

    content: bytes
    checked: bool


def write_sealed(path: Path, content: bytes) -> None:
    """Write a file with its checksum, atomically."""
    write_atomically(path, content + b"\n# sha256 %s\n" % _sha256(content))


def read_sealed(path: Path) -> Sealed:
    """Return what `write_sealed` wrote, or the whole content of a file without a checksum.

    Raises:
        FileNotFoundError: the file does not exist.
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
    """Write plain data as JSON with its checksum, atomically."""
    data = {**note, "checksum": digest(dict(note))}
    write_atomically(path, json.dumps(data, indent=1).encode())


def read_note(path: Path) -> dict[str, Any]:
    """Return what `write_note` wrote, without the checksum (earlier versions wrote none).

    Raises:
        OSError: the file cannot be read.
        SealError: the file is not a JSON mapping, or does not match its checksum.
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
