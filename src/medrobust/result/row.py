"""Immutable record of one cell of the benchmark."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, get_type_hints

from medrobust.result.flag import Flag, flag
from medrobust.schema import SchemaError, check_type

FORMAT = 7

_UNGROUPED: dict[str, Any] = {"groups": {}}
_UNLISTED: dict[str, Any] = {"files": []} | _UNGROUPED
_UNRECORDED: dict[str, Any] = {"code": {"package": "not recorded"}} | _UNLISTED
_ADDED: dict[int, dict[str, Any]] = {
    1: {"clean_confusion": None} | _UNRECORDED,
    2: _UNRECORDED,
    3: _UNRECORDED,
    4: _UNLISTED,
    5: _UNLISTED,
    6: _UNGROUPED,
}
"""Older formats that are still read -> fields that their rows lack."""

_UNSUMMED = (1, 2)
"""Formats without a checksum."""

_FREE = {"error", "config", "overrides"}
"""Fields with free text, which may contain line breaks."""


class RowError(ValueError):
    """Raised when a stored row cannot be read."""


@dataclass(frozen=True)
class Row:
    """Result of one cell (data × model × attack × threat × defense), written once.

        >>> row.metrics["accuracy"], row.intervals["accuracy"], row.flags

    Attributes:
        id: hash of the cell's resolved scientific config and of everything it depends on.
        status: `done` or `failed`.
        cell: the names that tables pivot on; see `CELL`.
        attack_variant: attack parameters, plain data (`eps`, `steps`, …).
        defense_variant: defense parameters, plain data (`noise`, `denoiser`, `n`, …).
        n: number of images evaluated.
        groups: kind -> number of groups of images that intervals are over, such as `patients`;
            empty where they are over images.
        seed: the run's seed.
        phantom: whether the data are a generated stand-in.
        metrics: name -> value; proportions in [0, 1].
        intervals: name -> [low, high], 95 %.
        checks: attack-strength measurements, name -> value.
        flags: failed attack-strength checks, and what else speaks against the numbers.
        seconds: `craft`, `defend` (whole set) and `total`; `craft` is the time when the
            adversarial set was made, also when it was replayed; `training`, that of the victim.
        confusion: counts under attack by true and predicted class, None for segmentation; an
            abstention counts as its leading class. Several draws of the defense add up.
        clean_confusion: the same on the clean images.
        classes: class names.
        fingerprints: `victim` (architecture and weights), `victim_code`, `threat_code`,
            `surrogate`, `attack`, `defense`, `images`, `data`, and `training_images` where the
            attack learned from them, `groups` and `validation_images` where numbers depend on them;
            `adversarial_set`, `clean_answers`, `validation_answers` and `answers` (`answers_1`, …
            of further draws of the defense) are keys of the cache, absent where code without source
            had a part in them.
        versions: library versions that computed it.
        revision: git revision of the code, `-dirty` when changed.
        code: `package`, digest of the package's code that computed it; `outside`, name -> digest
            of code that is not the package's, None where it has no source; `changed`, files of the
            package that differ from the revision. Empty for a failed row.
        created: ISO time, UTC.
        config: the resolved scientific config; `victim` is the training recipe stated by its
            checkpoint.
        overrides: Hydra overrides that run this cell again.
        error: traceback of a failed cell.
        files: endings of the files that were written next to the row, such as `png`, so that one
            that is gone is noticed; empty for rows of `medrobust.evaluate` and of formats below 6.
        format: version of this record.
    """

    id: str
    status: str
    cell: dict[str, str]
    attack_variant: dict[str, Any] = field(default_factory=dict)
    defense_variant: dict[str, Any] = field(default_factory=dict)
    n: int = 0
    groups: dict[str, int] = field(default_factory=dict)
    seed: int = 0
    phantom: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    checks: dict[str, float] = field(default_factory=dict)
    flags: list[Flag] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    confusion: list[list[int]] | None = None
    clean_confusion: list[list[int]] | None = None
    classes: list[str] = field(default_factory=list)
    fingerprints: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    revision: str = ""
    code: dict[str, Any] = field(default_factory=dict)
    created: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    error: str | None = None
    files: list[str] = field(default_factory=list)
    format: int = FORMAT

    def to_json(self) -> str:
        """Return the row as JSON text with a checksum of its content."""
        data = json.loads(json.dumps(asdict(self), allow_nan=False))
        return json.dumps(data | {"checksum": _checksum(data)}, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, source: str) -> "Row":
        """Read a row from JSON text.

        Only the types of a row without a checksum can be checked; it gets a flag.

        Args:
            text: text written by `to_json`.
            source: file name, for errors.

        Raises:
            RowError: the text is not JSON, has another format, unknown or missing fields, or does
                not match its checksum.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RowError(f"{source} is not JSON ({error}); delete it, run again") from None
        version = data.get("format") if isinstance(data, dict) else None
        if type(version) is not int or (version != FORMAT and version not in _ADDED):
            raise RowError(f"{source} is not a row of format {FORMAT}; delete it and run again")
        added = _ADDED.get(version, {})
        names = {item.name for item in fields(cls)} - set(added)
        names |= set() if version in _UNSUMMED else {"checksum"}
        if set(data) != names:
            odd = sorted(set(data) ^ names)
            raise RowError(f"{source} has missing or unknown fields {odd}; delete it and run again")
        if version not in _UNSUMMED and data.pop("checksum") != _checksum(data):
            raise RowError(
                f"{source} is damaged: its checksum does not match; delete it and run again"
            )
        if version in _UNSUMMED:
            _check_types(data, source)
        return cls(**data | added | {"format": FORMAT, "flags": _flags(data["flags"], version)})


def _check_types(data: dict[str, Any], source: str) -> None:
    kinds = get_type_hints(Row) | {"flags": list[str]}
    try:
        for name in set(data) - _FREE:
            check_type(data[name], kinds[name], name)
    except SchemaError as error:
        raise RowError(f"{source} is damaged ({error}); delete it and run again") from None


def _flags(stored: list[Any], version: int) -> list[Flag]:
    """Read flags; formats below 5 have them in words."""
    if version >= 5:
        return [Flag(one["code"], one["values"]) for one in stored]
    told = [flag("text", text=text) for text in stored]
    return [*told, flag("unchecked", format=version)] if version in _UNSUMMED else told


def _checksum(data: dict[str, Any]) -> str:
    """Return the SHA-256 of plain data as JSON round-trips it."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


CELL = ("data", "model", "objective", "threat", "surrogate", "attack", "defense")
"""Keys of `Row.cell`; values are config names, and `surrogate` is empty except for transfer."""
