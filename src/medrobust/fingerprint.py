"""Digests: what a number was computed from, as 64 hex digits of SHA-256."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def digest(value: Any) -> str:
    """Digest of plain data (dicts, lists, text, numbers, None): key order does not matter.

    Raises:
        TypeError: something in `value` is not plain data.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_tensors(tensors: "Mapping[str, Tensor]") -> str:
    """Digest of named tensors: names, dtypes, shapes and every byte; device does not matter."""
    import torch  # heavy: reports compute digests, too

    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        # As bytes: NumPy has no bfloat16.
        state.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def file_digest(path: str | Path) -> str:
    """Digest of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
