"""Records of an offline run of Weights & Biases."""

import struct
import time
from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a LevelDB log: blocks of 32 KiB, headers of crc, length and type."""
    data, offset, parts = path.read_bytes(), 7, b""
    while offset + 7 <= len(data):
        if 32768 - offset % 32768 < 7:  # too short for a header: padding
            offset += 32768 - offset % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        if offset + 7 + length > len(data):
            return  # still being written
        parts += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def finished(path: Path) -> list[Record]:
    """Return all records; wandb's writer is another process and may end after `finish` has."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = list(records(path))
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} has no end")
