"""Checkpoints on disk: weights, plain data and provenance, but no code."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any, get_type_hints

import torch
from torch import Tensor

from medrobust import target
from medrobust.fingerprint import digest
from medrobust.result.store import write_atomically
from medrobust.schema import SchemaError, check_type

FORMAT = 1


def _check_not_negative(value: float) -> None:
    if value < 0:
        raise ValueError(f"{value} is negative, expected 0 or more")


Count = Annotated[int, _check_not_negative]
Seconds = Annotated[float, _check_not_negative]


class CheckpointError(RuntimeError):
    """Raised when a checkpoint is damaged, foreign, or not the expected one."""


class MissingCheckpointError(FileNotFoundError):
    """Raised when a path has no checkpoint.

    Args:
        path: path of the missing checkpoint.
        train_command: command that trains it.
    """

    what = "checkpoint"

    def __init__(self, path: Path, train_command: str) -> None:
        super().__init__(f"no trained {self.what} at {path}; train it with\n  {train_command}")
        self.path = path
        self.train_command = train_command


@dataclass(frozen=True)
class TrainingMeta:
    """Provenance of trained weights, as plain data.

    Attributes:
        data: name of the dataset.
        data_key: name of the dataset's view in paths.
        data_digest: digest of the dataset's manifest.
        phantom: whether the dataset is a generated stand-in.
        task: `classification`, `segmentation` or `detection`.
        classes: class names, in the order of the logits.
        seed: seed of the training.
        epochs: number of epochs run.
        best_epoch: epoch of the weights, from 0.
        scores: `val/accuracy`, `test/accuracy`, … of these weights.
        seconds: training time, including that of an initial victim, without the final scores.
        recipe: resolved training config; equal recipes on equal data need no second training.
        versions: library versions.
        created: ISO time, UTC.
    """

    data: str
    data_key: str
    data_digest: str
    phantom: bool
    task: str
    classes: list[str]
    seed: int
    epochs: Count
    best_epoch: Count
    scores: dict[str, float] = field(default_factory=dict)
    seconds: Seconds = 0.0
    recipe: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    created: str = ""


def save(
    path: str | Path,
    state: Mapping[str, Tensor],
    *,
    fingerprint: str,
    meta: TrainingMeta,
    **parts: Mapping[str, Any],
) -> None:
    """Write a checkpoint atomically.

    Args:
        path: file to write.
        state: the weights.
        fingerprint: fingerprint, which is computed again from the weights on loading.
        meta: provenance of the weights.
        parts: further plain data needed to rebuild the network.
    """
    content = {"format": FORMAT, "fingerprint": fingerprint, "meta": asdict(meta), **parts}
    weights = {name: tensor.detach().cpu() for name, tensor in state.items()}
    buffer = io.BytesIO()
    torch.save({**content, "digest": digest(content), "state_dict": weights}, buffer)
    write_atomically(Path(path), buffer.getvalue())


def read(
    path: Path,
    *,
    what: str,
    parts: Sequence[str],
    meta: type[TrainingMeta],
    error: type[CheckpointError],
) -> dict[str, Any]:
    """Return what `save` wrote, without running any code in the file.

    Args:
        path: file to read.
        what: expected owner of the checkpoint, for messages.
        parts: expected parts besides the weights.
        meta: class of its `meta`.
        error: class of the error to raise.

    Raises:
        CheckpointError: as `error`; the file is not such a checkpoint, damaged, or edited.
        FileNotFoundError: the file does not exist.
    """
    remedy = "delete it and train again, or set overwrite=true"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as caught:  # a damaged archive or pickle can raise almost anything
        raise error(
            f"{path} is not a {what}'s checkpoint, or is damaged, or holds code "
            f"({unreadable(caught)}); {remedy}"
        ) from None
    plain = ("format", "fingerprint", "meta", *parts)
    expected = (*plain, "state_dict", "digest")
    if not isinstance(content, dict) or set(content) != set(expected):
        raise error(f"{path} is not a {what}'s checkpoint, expected the parts {expected}; {remedy}")
    try:
        check_type(content["format"], int, "format")
        check_type(content["fingerprint"], str, "fingerprint")
        for part in parts:
            check_type(content[part], dict[str, Any], part)
        _check_meta(content["meta"], meta)
        _check_tensors(content["state_dict"])
    except (SchemaError, RecursionError) as caught:
        raise error(f"{path} is not a {what}'s checkpoint ({caught}); {remedy}") from None
    if content["format"] != FORMAT:
        raise error(f"{path} has format {content['format']}, expected {FORMAT}; {remedy}")
    if content["digest"] != digest({key: content[key] for key in plain}):
        raise error(f"{path} was changed after it was written; {remedy}")
    return content


def unreadable(error: Exception) -> str:
    """Return torch's reason for not reading a file, without its advice to read it unsafely."""
    if isinstance(error, UnpicklingError):
        return "UnpicklingError: not plain data"
    reason = next(iter(str(error).splitlines()), "empty").partition(". ")[0]
    return f"{type(error).__name__}: {reason}"


def check_dtypes(
    path: Path,
    expected: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    *,
    error: type[CheckpointError],
    remedy: str,
) -> None:
    """Check that weights have the dtypes of their network.

    Args:
        path: file of the weights, for the message.
        expected: weights of the network.
        state: weights of the file.
        error: class of the error to raise.
        remedy: fix, for the message.

    Raises:
        CheckpointError: as `error`; a weight has another dtype.
    """
    other = [
        name for name in expected if name in state and expected[name].dtype != state[name].dtype
    ]
    if other:
        first = other[0]
        raise error(
            f"{path} holds {len(other)} tensors of another type than its network, such as {first} "
            f"in {state[first].dtype}, expected {expected[first].dtype}; {remedy}"
        )


def _check_tensors(state: Any) -> None:
    if not isinstance(state, Mapping):
        raise SchemaError(f"state_dict is a {type(state).__name__}, expected tensors by name")
    for name, tensor in state.items():
        check_type(name, str, "a key of state_dict")
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
            raise SchemaError(f"state_dict.{name} is no dense tensor")


def _check_meta(found: Any, meta: type[TrainingMeta]) -> None:
    if not isinstance(found, dict):
        raise SchemaError(f"meta is a {type(found).__name__}, expected values by name")
    known = fields(meta)
    needed = {item.name for item in known if _required(item)}
    if not needed <= set(found) <= {item.name for item in known}:
        raise SchemaError("missing or unknown meta fields")
    kinds = get_type_hints(meta, include_extras=True)
    for name, value in found.items():
        check_type(value, kinds[name], f"meta.{name}")


def _required(item: "Field[Any]") -> bool:
    """Return whether every checkpoint has a field; older ones may lack fields with a default."""
    return item.default is MISSING and item.default_factory is MISSING


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return `key: old -> new` for every key in which two recipes differ."""
    return [f"{key}: {left} -> {right}" for key, left, right in target.differences(old, new)]
