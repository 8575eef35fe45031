"""SHA-256 digests of plain data, tensors and files, as 64 hex digits."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def digest(value: Any) -> str:
    """Return the digest of plain data (dicts, lists, text, numbers, None), in any key order.

    Raises:
        TypeError: something in `value` is not plain data.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_tensors(tensors: "Mapping[str, Tensor]") -> str:
    """Return the digest of named tensors (names, dtypes, shapes and bytes) on any device."""
    import torch  # heavy, and reports need only the other digests

    state = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        # As bytes, since NumPy has no bfloat16.
        state.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def file_digest(path: str | Path) -> str:
    """Return the digest of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
