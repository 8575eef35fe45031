"""Caption and footnotes of a table."""

from collections.abc import Mapping, Sequence

from medrobust.report.table.config import OVER, TableConfig
from medrobust.report.table.label import flatten, readable, shared_name, varying
from medrobust.report.table.paper_number import unlike
from medrobust.report.table.reference import PaperValue
from medrobust.report.table.reference_config import ReferenceConfig
from medrobust.report.table.setting import ABSENT
from medrobust.result.row import CELL, Row

_SHOWN = 6
"""Largest number of changed files that a footnote names."""


def caption(rows: Sequence[Row]) -> str:
    """Return the names that all cells share: `data DermaMNIST · model ResNet-18 · eps 8/255`."""
    spread = varying(rows)
    cell = rows[0].cell
    common = [axis for axis in CELL if axis not in spread and cell.get(axis)]
    said = [f"{axis} {shared_name(rows, axis)}" for axis in common]
    budgets = [flatten(row.attack_variant).get("eps") for row in rows]
    shown = {readable(value) for value in budgets if value is not None}
    return " · ".join([*said, *(f"eps {value}" for value in shown if len(shown) == 1)])


def notes(
    rows: Sequence[Row],
    config: TableConfig,
    reference: ReferenceConfig | None,
    papers: Mapping[str, PaperValue],
) -> list[str]:
    """Return the footnotes of a table.

    Args:
        rows: all rows of the table.
        config: config of the table.
        reference: the paper's table; None on phantoms.
        papers: row id -> the paper's number for it.

    Returns:
        Sentences on n and seeds, merged settings, and differences from the paper.
    """
    return [
        *_size(rows),
        *_over(rows, config),
        *(text for key in config.merge for text in _merged(rows, key)),
        *(_paper(rows, reference, papers) if reference else []),
    ]


def _size(rows: Sequence[Row]) -> list[str]:
    counts = {row.n for row in rows if row.status == "done"}
    seeds = ", ".join(str(seed) for seed in sorted({row.seed for row in rows}))
    if not counts:
        return []
    return [f"n = {_span(counts)} images; seed {seeds}.", *_groups(rows)]


def _groups(rows: Sequence[Row]) -> list[str]:
    """Return a sentence on the groups that intervals are over."""
    done = [row for row in rows if row.status == "done"]
    found: dict[str, set[int]] = {}
    for row in done:
        for kind, count in row.groups.items():
            found.setdefault(kind, set()).add(count)
    if not found:
        return []
    said = [f"{_span(counts)} {kind}" for kind, counts in found.items()]
    rest = "" if all(row.groups for row in done) else "; of other data, over images"
    return [f"Intervals and tests are over {' and '.join(said)}, not over images{rest}."]


def _span(counts: set[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def _over(rows: Sequence[Row], config: TableConfig) -> list[str]:
    """Return a sentence on the seeds that cells are means over."""
    if not config.over:
        return []
    said = []
    for name in config.over:
        key = OVER[name][0]
        values = {flatten(row.config).get(key) for row in rows if row.status == "done"}
        seeds = sorted(value for value in values if isinstance(value, int))
        said.append(f"{name.replace('_', ' ')} {', '.join(map(str, seeds)) or ABSENT}")
    return [f"Mean ± standard deviation over {', '.join(said)}; intervals are of single seeds."]


def _merged(rows: Sequence[Row], key: str) -> list[str]:
    axis, _, name = key.partition(".")
    own = [flatten(row.attack_variant if axis == "attack" else row.defense_variant) for row in rows]
    values = dict.fromkeys(readable(settings[name]) for settings in own if name in settings)
    return [f"{key} differs between cells: {', '.join(values)}."] if len(values) > 1 else []


def _paper(
    rows: Sequence[Row], reference: ReferenceConfig, papers: Mapping[str, PaperValue]
) -> list[str]:
    if not papers:
        where = f"{reference.paper} {reference.table} ({reference.metric})"
        return [f"No number of {where} fits a cell: see table.reference.", *reference.notes]
    odd = [text for row in rows if row.id in papers for text in unlike(row, papers[row.id])]
    source = f"Paper: {reference.paper} {reference.table}, {reference.metric}."
    return [source, *reference.notes, *(f"Defense setting {text}." for text in dict.fromkeys(odd))]


def provenance(rows: Sequence[Row]) -> list[str]:
    """Return sentences on the code's revision and on code that it does not cover."""
    revisions = ", ".join(sorted({row.revision for row in rows if row.revision}))
    said = [f"Code revision {revisions}."] if revisions else []
    return said + [f"{name[0].upper()}{name[1:]}: {text}." for name, text in uncovered(rows)]


def uncovered(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return heading and text for the rows' code that no revision covers."""
    changed = sorted({name for row in rows for name in row.code.get("changed", ())})
    outside = sorted(
        {_outside(*item) for row in rows for item in row.code.get("outside", {}).items()}
    )
    found = [
        ("changed since that revision", _few(changed)),
        ("code from outside the package", ", ".join(outside)),
    ]
    return [(name, text) for name, text in found if text]


def _outside(name: str, digest: str | None) -> str:
    return f"{name} ({digest[:12]})" if digest else f"{name} (no source)"


def _few(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
