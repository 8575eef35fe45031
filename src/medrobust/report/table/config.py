"""Checked config of a table: the `table` node of an experiment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from medrobust.metric.definition import Unit, definition, unit_of, unknown
from medrobust.report.table import reference as papers
from medrobust.result.row import CELL
from medrobust.schema import SchemaError, check_fields

SEEDS = ("victim_seed", "seed")

AXES = (*CELL, *SEEDS)
"""Axes of a table: the names in `Row.cell`, the victim's training seed, and the run's seed."""

OVER = {
    "victim_seed": ("victim_seed", "victim.seed"),
    "defense_seed": ("defense.seed",),
    "seed": ("seed",),
}
"""Seeds that cells may be means over, and the keys of a row's config that hold them."""

QUERY = (
    *("dataset", "model", "threat", "surrogate", "attack", "attack_tokens"),
    *("norm", "eps", "steps", "defense", "tokens"),
)
"""Columns of a paper's CSV that a mapping may set; `tokens` are those of `defense_variant`."""

Mapped = dict[str, dict[str, Any] | None]


class TableError(ValueError):
    """Raised when a table cannot be built as configured."""


@dataclass(frozen=True)
class ReferenceConfig:
    """Source of a table's reference numbers in a paper.

    Each mapping goes from a choice of ours (`bit_depth`) to what the paper's CSV calls it
    (`{defense: bdr}`). Any column in `QUERY` may be set by any mapping; later axes win. A token may
    take a value from our settings: `N={steps}`, `sigma={noise.sigma}`; from an object its class,
    `noise={noise}`; and from several, of which not all are there, the first that is,
    `{cushion.quality|cushion.bits}`, or nothing when the last is empty, `{cushion.quality|}`.

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


@dataclass(frozen=True)
class MeanConfig:
    """Column with the mean of a line's cells, shown only if none is missing.

    Attributes:
        over: choices of the innermost column axis.
        label: heading of the column.
        attack: name in the paper's CSV for the attack of its own mean.
        metric: metric of that mean; by default the table's with `_mean`.
    """

    over: tuple[str, ...]
    label: str = "mean"
    attack: str = "average"
    metric: str = ""


@dataclass(frozen=True)
class TableConfig:
    """Layout of a table.

    Attributes:
        title: heading.
        rows: axes down the side, outermost first, from `AXES` or settings of attacks and defenses
            (`attack.eps`, `defense.noise`).
        columns: axes across the top.
        metric: key of `Row.metrics`.
        percent: print proportions times 100; other metrics have units of their own.
        best: which value of a column is printed bold: `high`, `low` or `none`.
        merge: settings (`defense.steps`) that differ without making a line of their own.
        spread: row axes that are settings (`attack.eps`); a row without the setting (clean images)
            is repeated in each line that differs only in it.
        metrics: several metrics, which become the innermost column axis; empty for `metric` alone.
        mean: a column of means, or None.
        extra: columns from the line's cell of clean images: `seconds_per_image`,
            `training_hours`, or a metric.
        over: seeds, from `OVER`; rows that differ in them alone are one cell, their mean ± standard
            deviation.
        worst: add a column `worst`, the share of images that no attack of a line fools, where
            attacks of one norm and radius stand side by side.
        clean: add a column `clean`, the metric before the attack, where no row is of clean images.
        reference: the paper's table, or None.
        units: units, from `metric.definition.UNITS`, of metrics that this package does not define,
            such as details of a user's own defense.
    """

    title: str = ""
    rows: tuple[str, ...] = ("model", "threat", "defense")
    columns: tuple[str, ...] = ("attack",)
    metric: str = "accuracy"
    percent: bool = True
    best: str = "high"
    merge: tuple[str, ...] = ()
    spread: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    mean: MeanConfig | None = None
    extra: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    worst: bool = True
    clean: bool = True
    reference: ReferenceConfig | None = None
    units: dict[str, Unit] = field(default_factory=dict)

    @classmethod
    def parse(cls, node: Mapping[str, Any]) -> "TableConfig":
        """Read the plain data of a `table` node.

        Raises:
            TableError: an unknown key, axis, paper, table, metric or name of the paper.
        """
        _known("table", node, [item.name for item in fields(cls)])
        given = {key: value for key, value in node.items() if value is not None}
        try:
            check_fields(cls, given, "table")
        except SchemaError as error:
            raise TableError(str(error)) from None
        for key in ("rows", "columns", "merge", "spread", "metrics", "extra", "over"):
            if key in given:
                given[key] = _texts(f"table.{key}", given[key])
        if "mean" in given:
            given["mean"] = _mean(given["mean"])
        reference = given.pop("reference", None)
        config = cls(**given)
        config.check()
        if reference is None:
            return config
        metric = config.metrics[0] if config.metrics else config.metric
        return cls(**given, reference=_reference(reference, metric))

    @property
    def over_keys(self) -> tuple[str, ...]:
        """Return the keys of a row's config that cells are means over."""
        return tuple(key for name in self.over for key in OVER[name])

    def unit_of(self, metric: str) -> Unit:
        """Return the unit of a metric of this package or of `units`."""
        return self.units.get(metric) or unit_of(metric)

    def check_metrics(self) -> None:
        """Raise `TableError` if a metric is not of this package and has no unit in `units`."""
        for metric in (*(self.metrics or (self.metric,)), *self.extra):
            if metric not in self.units and definition(metric) is None:
                raise TableError(
                    f"table.metric={metric!r} is no metric of this package; {unknown(metric)}; for "
                    f"a defense's own number give its unit, +table.units.{metric}=number"
                )

    def check(self) -> None:
        """Raise `TableError` if an axis or another value is unknown."""
        axes = (*self.rows, *self.columns)
        for axis in axes:
            if axis not in AXES and not _is_setting(axis):
                raise TableError(
                    f"table axis {axis!r} is unknown; choose from {', '.join(AXES)}, or a setting "
                    "such as attack.eps or defense.noise"
                )
        top = self.columns or self.metrics
        if not self.rows or not top or len(set(axes)) != len(axes):
            raise TableError(
                f"table.rows={list(self.rows)} and table.columns={list(self.columns)}: each needs "
                "an axis, and no axis may stand twice"
            )
        if self.best not in ("high", "low", "none"):
            raise TableError(f"table.best={self.best!r}; expected high, low or none")
        if self.mean and (self.metrics or not self.columns):
            raise TableError("table.mean averages over a column axis; it needs one, and one metric")
        for key in self.spread:
            if key not in self.rows or "." not in key:
                raise TableError(
                    f"table.spread: {key!r} is no setting such as attack.eps among table.rows"
                )
        for key in self.over:
            if key not in OVER or key in axes:
                raise TableError(
                    f"table.over: {key!r} is no seed that is not an axis; choose from "
                    f"{', '.join(OVER)}"
                )
        for key in self.merge:
            if not _is_setting(key):
                raise TableError(f"table.merge: {key!r} is no setting such as defense.steps")


_MAPPINGS = {
    "data": "data",
    "models": "model",
    "objectives": "objective",
    "threats": "threat",
    "surrogates": "surrogate",
    "attacks": "attack",
    "defenses": "defense",
}


_REFERENCE = ("paper", "table", "metric", "metrics", "names", "notes", *_MAPPINGS)


def _reference(node: Mapping[str, Any], metric: str) -> ReferenceConfig:
    _known("table.reference", node, _REFERENCE)
    paper, table = str(node.get("paper")), str(node.get("table"))
    metric = node.get("metric") or metric
    values = [value for value in papers.load(paper) if value.table == table]
    if not values:
        tables = dict.fromkeys(value.table for value in papers.load(paper))
        raise TableError(f"{paper} has no {table!r}; table.reference.table is one of {[*tables]}")
    renamed = {str(ours): str(theirs) for ours, theirs in (node.get("metrics") or {}).items()}
    for name in (metric, *renamed.values()):
        if name not in {value.metric for value in values}:
            known = sorted({value.metric for value in values})
            raise TableError(
                f"{paper} {table} prints no {name!r}; table.reference.metric is one of {known}"
            )
    mappings: dict[str, Mapped] = {}
    for key, axis in _MAPPINGS.items():
        for choice, columns in (node.get(key) or {}).items():
            where = f"table.reference.{key}.{choice}"
            if columns is None:
                mappings.setdefault(axis, {})[str(choice)] = None
                continue
            _known(where, columns, QUERY)
            for name in ("dataset", "model", "threat", "surrogate", "attack", "defense"):
                known = sorted({getattr(value, name) for value in values})
                if columns.get(name) is not None and str(columns[name]) not in known:
                    raise TableError(
                        f"{where}: {paper} {table} has no {name} {columns[name]!r}, only {known}"
                    )
            mappings.setdefault(axis, {})[str(choice)] = dict(columns)
    names = {str(key): _names(str(key), own) for key, own in (node.get("names") or {}).items()}
    notes = node.get("notes") or ()
    if isinstance(notes, Mapping):  # with keys, composed configs can add notes
        notes = [note for note in notes.values() if note is not None]
    notes = _texts("table.reference.notes", notes)
    return ReferenceConfig(paper, table, metric, mappings, names, notes, renamed)


def _names(key: str, node: Any) -> dict[str, str]:
    if not _is_setting(key):
        raise TableError(f"table.reference.names: {key!r} is no setting such as defense.noise")
    if not isinstance(node, Mapping):
        raise TableError(
            f"table.reference.names.{key} is {node!r}, expected a mapping such as "
            "{GaussianNoise: gaussian}"
        )
    return {str(ours): str(theirs) for ours, theirs in node.items()}


def _is_setting(key: str) -> bool:
    parent, _, name = key.partition(".")
    return parent in ("attack", "defense") and bool(name)


def _mean(node: Any) -> MeanConfig:
    _known("table.mean", node, [item.name for item in fields(MeanConfig)])
    over = _texts("table.mean.over", node.get("over") or ())
    if not over or len(set(over)) != len(over):
        raise TableError(f"table.mean.over={list(over)}; expected choices of the column axis")
    return MeanConfig(**{**node, "over": over})


def _known(where: str, node: Any, names: Sequence[str]) -> None:
    if not isinstance(node, Mapping):
        raise TableError(f"{where} is {node!r}, expected a mapping with keys from {list(names)}")
    odd = [key for key in node if key not in names]
    if odd:
        raise TableError(f"{where} has unknown keys {odd}; known are {list(names)}")


def _texts(where: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TableError(f"{where} is {value!r}, expected a list")
    return tuple(str(item) for item in value)
