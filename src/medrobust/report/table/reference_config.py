"""Checked config of a table's reference numbers: the `table.reference` node of an experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medrobust.report.table import reference as papers
from medrobust.report.table.node import TableError, is_setting, known, texts
from medrobust.report.table.reference import PaperValue

QUERY = (
    *("dataset", "model", "threat", "surrogate", "attack", "attack_tokens"),
    *("norm", "eps", "steps", "defense", "tokens"),
)
"""Columns of a paper's CSV that a mapping may set; `tokens` are those of `defense_variant`."""

THREATS = "threats"
"""Key of a mapping whose columns hold under one of our threats only."""

Columns = dict[str, Any]
Mapped = dict[str, Columns | None]


@dataclass(frozen=True)
class ReferenceConfig:
    """Source of a table's reference numbers in a paper.

    Each mapping goes from a choice of ours (`bit_depth`) to what the paper's CSV calls it
    (`{defense: bdr}`). Any column in `QUERY` may be set by any mapping; later axes win. Columns
    that hold under one threat of ours only stand under `threats`: with
    `{threats: {adaptive: {threat: oblivious}, transfer: null}}` the adaptive row has the number
    that the paper calls oblivious, and the transfer row has none. A token may take a value from our
    settings: `N={steps}`, `sigma={noise.sigma}`; from an object its class, `noise={noise}`; and
    from several, of which not all are there, the first that is, `{cushion.quality|cushion.bits}`,
    or nothing when the last is empty, `{cushion.quality|}`.

    Attributes:
        paper: one of `reference.papers()`.
        table: the paper's table, such as `table3`.
        metric: the paper's metric.
        mappings: axis -> choice -> columns.
        names: setting (`defense.noise`) -> its value as tables print it (`GaussianNoise`) -> what
            the paper's tokens call it (`gaussian`).
        notes: footnotes: open choices, and how ours were made.
        metrics: names of ours -> those of the paper, for columns of several metrics.
    """

    paper: str
    table: str
    metric: str
    mappings: dict[str, Mapped] = field(default_factory=dict)
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    metrics: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, node: Mapping[str, Any], metric: str) -> "ReferenceConfig":
        """Read the plain data of a `table.reference` node.

        Args:
            node: the node.
            metric: the table's metric, the paper's unless the node names another.

        Raises:
            TableError: an unknown key, paper, table, metric or name of the paper.
        """
        known("table.reference", node, _KEYS)
        paper, table = str(node.get("paper")), str(node.get("table"))
        values = _printed(paper, table)
        metric = node.get("metric") or metric
        renamed = {str(ours): str(theirs) for ours, theirs in (node.get("metrics") or {}).items()}
        _check_metrics((metric, *renamed.values()), values)
        mappings: dict[str, Mapped] = {}
        for key, axis in _MAPPINGS.items():
            for choice, columns in (node.get(key) or {}).items():
                where = f"table.reference.{key}.{choice}"
                mappings.setdefault(axis, {})[str(choice)] = _mapping(where, columns, values)
        names = {str(key): _names(str(key), own) for key, own in (node.get("names") or {}).items()}
        notes = node.get("notes") or ()
        if isinstance(notes, Mapping):  # with keys, composed configs can add notes
            notes = [note for note in notes.values() if note is not None]
        notes = texts("table.reference.notes", notes)
        return cls(paper, table, metric, mappings, names, notes, renamed)

    def columns(self, axis: str, cell: Mapping[str, str]) -> Columns | None:
        """Return the columns that a cell's choice on an axis is mapped to; None for no number.

        Args:
            axis: one of `Row.cell`.
            cell: choices by axis, such as `Row.cell`.
        """
        mapped = self.mappings.get(axis, {}).get(cell.get(axis, ""), {})
        if mapped is None:
            return None
        under = mapped.get(THREATS, {}).get(cell.get("threat", ""), {})
        if under is None:
            return None
        own = {name: value for name, value in mapped.items() if name != THREATS}
        return own | under


_MAPPINGS = {
    "data": "data",
    "models": "model",
    "objectives": "objective",
    THREATS: "threat",
    "surrogates": "surrogate",
    "attacks": "attack",
    "defenses": "defense",
}

_KEYS = ("paper", "table", "metric", "metrics", "names", "notes", *_MAPPINGS)


def _printed(paper: str, table: str) -> list[PaperValue]:
    """Return the numbers of a paper's table, at least one."""
    values = [value for value in papers.load(paper) if value.table == table]
    if not values:
        tables = dict.fromkeys(value.table for value in papers.load(paper))
        raise TableError(f"{paper} has no {table!r}; table.reference.table is one of {[*tables]}")
    return values


def _check_metrics(names: Sequence[str], values: Sequence[PaperValue]) -> None:
    """Raise `TableError` if the paper's table lacks a metric."""
    there = sorted({value.metric for value in values})
    for name in names:
        if name not in there:
            raise TableError(
                f"{values[0].paper} {values[0].table} prints no {name!r}; table.reference.metric "
                f"is one of {there}"
            )


def _mapping(where: str, node: Any, values: Sequence[PaperValue]) -> Columns | None:
    """Return the checked columns of a choice, those under single threats included."""
    if node is None:
        return None
    known(where, node, (*QUERY, THREATS))
    made = _columns(where, {key: item for key, item in node.items() if key != THREATS}, values)
    if THREATS in node:
        within, under = f"{where}.{THREATS}", node[THREATS]
        if not isinstance(under, Mapping):
            raise TableError(
                f"{within} is {under!r}, expected a mapping from threats of ours, such as "
                "{adaptive: {threat: oblivious}}"
            )
        made[THREATS] = {
            str(threat): None if own is None else _columns(f"{within}.{threat}", own, values)
            for threat, own in under.items()
        }
    return made


def _columns(where: str, node: Any, values: Sequence[PaperValue]) -> Columns:
    """Return columns whose names the paper's table has."""
    known(where, node, QUERY)
    first = values[0]
    for name in ("dataset", "model", "threat", "surrogate", "attack", "defense"):
        there = sorted({getattr(value, name) for value in values})
        if node.get(name) is not None and str(node[name]) not in there:
            raise TableError(
                f"{where}: {first.paper} {first.table} has no {name} {node[name]!r}, only {there}"
            )
    return dict(node)


def _names(key: str, node: Any) -> dict[str, str]:
    if not is_setting(key):
        raise TableError(f"table.reference.names: {key!r} is no setting such as defense.noise")
    if not isinstance(node, Mapping):
        raise TableError(
            f"table.reference.names.{key} is {node!r}, expected a mapping such as "
            "{GaussianNoise: gaussian}"
        )
    return {str(ours): str(theirs) for ours, theirs in node.items()}
