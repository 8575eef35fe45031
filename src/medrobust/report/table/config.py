"""Checked config of a table: the `table` node of an experiment."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from medrobust.metric.definition import Unit, definition, unit_of, unknown
from medrobust.report.table.node import TableError, is_setting, known, texts
from medrobust.report.table.reference_config import ReferenceConfig
from medrobust.result.row import CELL
from medrobust.schema import SchemaError, check_fields

SEEDS = ("victim_seed", "seed")

AXES = (*CELL, *SEEDS)
"""Axes of a table: the names in `Row.cell`, the victim's training seed, and the run's seed."""

_LISTS = ("rows", "columns", "merge", "spread", "metrics", "also", "extra", "over", "own_attacks")

OVER = {
    "victim_seed": ("victim_seed", "victim.seed"),
    "defense_seed": ("defense.seed",),
    "seed": ("seed",),
}
"""Seeds that cells may be means over, and the keys of a row's config that hold them."""


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
        rows: axes down the side, outermost first, from `AXES` or settings of attacks, defenses and
            victims' trainings (`attack.eps`, `defense.noise`, `victim.max_epochs`).
        columns: axes across the top.
        metric: key of `Row.metrics`.
        percent: print proportions times 100; other metrics have units of their own.
        best: which value of a column is printed bold: `high`, `low` or `none`.
        merge: settings (`defense.steps`) that differ without making a line of their own.
        spread: row axes that are settings (`attack.eps`); a row without the setting (clean images)
            is repeated in each line that differs only in it.
        metrics: several metrics, which become the innermost column axis; empty for `metric` alone.
        also: further metrics, each shown in a table of its own after this one.
        mean: a column of means, or None.
        extra: columns from the line's cell of clean images: `seconds_per_image`,
            `training_hours`, or a metric.
        over: seeds, from `OVER`; rows that differ in them alone are one cell, their mean ± standard
            deviation.
        own_attacks: defenses that meet attacks which the others do not; where threats make blocks,
            these attacks have one of their own, so that no other defense seems to lack a cell.
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
    also: tuple[str, ...] = ()
    mean: MeanConfig | None = None
    extra: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    own_attacks: tuple[str, ...] = ()
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
        known("table", node, [item.name for item in fields(cls)])
        given = {key: value for key, value in node.items() if value is not None}
        try:
            check_fields(cls, given, "table")
        except SchemaError as error:
            raise TableError(str(error)) from None
        for key in (
            "rows",
            "columns",
            "merge",
            "spread",
            "metrics",
            "extra",
            "over",
            "own_attacks",
        ):
            if key in given:
                given[key] = texts(f"table.{key}", given[key])
        if "mean" in given:
            given["mean"] = _mean(given["mean"])
        reference = given.pop("reference", None)
        config = cls(**given)
        config.check()
        if reference is None:
            return config
        metric = config.metrics[0] if config.metrics else config.metric
        return cls(**given, reference=ReferenceConfig.parse(reference, metric))

    @property
    def over_keys(self) -> tuple[str, ...]:
        """Return the keys of a row's config that cells are means over."""
        return tuple(key for name in self.over for key in OVER[name])

    def unit_of(self, metric: str) -> Unit:
        """Return the unit of a metric of this package or of `units`."""
        return self.units.get(metric) or unit_of(metric)

    def check_metrics(self) -> None:
        """Raise `TableError` if a metric is not of this package and has no unit in `units`."""
        for metric in (*(self.metrics or (self.metric,)), *self.also, *self.extra):
            if metric not in self.units and definition(metric) is None:
                raise TableError(
                    f"table.metric={metric!r} is no metric of this package; {unknown(metric)}; for "
                    f"a defense's own number give its unit, +table.units.{metric}=number"
                )

    def check(self) -> None:
        """Raise `TableError` if an axis or another value is unknown."""
        axes = (*self.rows, *self.columns)
        for axis in axes:
            if axis not in AXES and not is_setting(axis):
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
            if not is_setting(key):
                raise TableError(f"table.merge: {key!r} is no setting such as defense.steps")


def _mean(node: Any) -> MeanConfig:
    known("table.mean", node, [item.name for item in fields(MeanConfig)])
    over = texts("table.mean.over", node.get("over") or ())
    if not over or len(set(over)) != len(over):
        raise TableError(f"table.mean.over={list(over)}; expected choices of the column axis")
    return MeanConfig(**{**node, "over": over})
