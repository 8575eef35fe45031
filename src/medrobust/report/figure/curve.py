"""Curves of a metric against a setting: accuracy against N or σ² (MDDA, Figure 7)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from medrobust.metric.definition import unit_of
from medrobust.number import NumberError, fraction
from medrobust.report.figure.core.base import Drawing, Figure, FigureError, Source, canvas, heading
from medrobust.report.figure.core.base import several as names
from medrobust.report.table.label import comparable, differing, flatten, readable
from medrobust.result.row import CELL, Row

_MARKERS = "osD^v<>P"


@dataclass(frozen=True)
class Point:
    """A point of a line.

    Attributes:
        x: value of the setting.
        value: mean of the metric over the attacks.
        low: mean of the lower ends of their intervals, None if one has no interval.
        high: mean of the upper ends, likewise.
    """

    x: float
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Curve(Figure):
    """Lines of a metric against a setting, each point the mean over some attacks.

    A point is drawn only where every attack of `over` is finished. An attack without the setting
    of `line` (`none` and CW have no eps) counts for every line. The bars are the mean ends of the
    attacks' 95 % intervals: all attacks share the images, so averaging does not narrow them.

    Attributes:
        x: setting along the axis, such as `defense.steps` or `attack.eps`.
        over: choices of `attack` to average over; empty for those that ran.
        line: setting with a line per value, such as `attack.eps`; empty for one line per defense.
        defense: choices of `defense`; empty for those that have the setting.
        threat: choices of `threat`; empty for all.
        where: required values of settings, such as `{defense.sigma2: 0.125}`; rows without the
            setting pass.
        metric: key of `Row.metrics`.
        percent: show a proportion in percent, from 0 to 100.
        label: name of the setting on the axis; by default its own.
    """

    x: str
    over: tuple[str, ...] = ()
    line: str = ""
    defense: tuple[str, ...] = ()
    threat: tuple[str, ...] = ()
    where: dict[str, Any] = field(default_factory=dict)
    metric: str = "accuracy"
    percent: bool = True
    label: str = ""

    def check(self) -> None:
        """Raise `FigureError` if a setting or a list of choices is invalid."""
        for key in filter(None, (self.x, self.line, *self.where)):
            parent, _, name = str(key).partition(".")
            if parent not in ("attack", "defense") or not name:
                raise FigureError(f"{key!r} is no setting such as defense.steps")
        if not self.x:
            raise FigureError("x is empty; expected a setting such as defense.steps")
        for key in ("over", "defense", "threat"):
            names(key, getattr(self, key))

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing per data set, victim, threat and seed."""
        rows = [row for row in source.rows if self._wanted(row)]
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            # Clean images are the same under every threat.
            axes = [axis for axis in CELL if axis not in ("attack", "defense")]
            groups.setdefault(
                (*(row.cell.get(axis, "") for axis in axes), str(row.seed)), []
            ).append(row)
        drawings = []
        for key, members in groups.items():
            lines = dict(self.lines(members))
            if any(lines.values()):
                apart = [text for at, text in enumerate(key) if len({k[at] for k in groups}) > 1]
                drawings.append(self._one(members, lines, ", ".join(filter(None, apart))))
        if not drawings:
            over = list(self.over) or "all attacks"
            raise FigureError(
                f"no value of {self.x} has {self.metric} finished for {over}: is the sweep "
                "complete, and does it sweep this setting?"
            )
        return drawings

    def lines(self, rows: Sequence[Row]) -> Iterator[tuple[str, list[Point]]]:
        """Yield the label and the points of each line.

        Args:
            rows: rows of one data set, victim, threat and seed.
        """
        over = names("over", self.over) or tuple(dict.fromkeys(map(_attack, rows)))
        keys = dict.fromkeys(key for row in rows if (key := self._line(row)) is not None)
        for key in keys or {"": None}:
            found: dict[float, dict[str, Row]] = {}
            for row in rows:
                x = _number(row, self.x)
                if x is None or self._line(row) not in (key, None):
                    continue
                other = found.setdefault(x, {}).setdefault(_attack(row), row)
                if other is not row:
                    apart = ", ".join(differing([flatten(row.config), flatten(other.config)]))
                    raise FigureError(
                        f"two rows of {_attack(row)} stand at {self.x}={readable(x)}: they "
                        f"differ in {apart}; choose one by `where`, or separate them by `line`"
                    )
            if self.x.startswith("attack."):  # rows without it (clean images) have no x
                over_here = tuple(name for name in over if any(name in at for at in found.values()))
            else:
                over_here = over
            points = [
                self._point(x, [cells[name] for name in over_here])
                for x, cells in sorted(found.items())
                if over_here and all(name in cells for name in over_here)
            ]
            yield key, points

    def _line(self, row: Row) -> str | None:
        """Return the label of a row's line; None if it belongs to all lines."""
        if not self.line:
            return row.cell.get("defense", "")
        value = _setting(row, self.line)
        return None if value is None else f"{self.line.rpartition('.')[2]} {readable(value)}"

    def _wanted(self, row: Row) -> bool:
        named = (("defense", self.defense), ("threat", self.threat), ("attack", self.over))
        return (
            all(not chosen or row.cell.get(axis) in names(axis, chosen) for axis, chosen in named)
            and all(
                _setting(row, key) is None or comparable(_setting(row, key)) == comparable(value)
                for key, value in self.where.items()
            )
            and self.metric in row.metrics
            and (self.x.startswith("attack.") or _number(row, self.x) is not None)
        )

    def _point(self, x: float, rows: Sequence[Row]) -> Point:
        spans = [row.intervals.get(self.metric) for row in rows]
        known = [span for span in spans if span is not None]
        whole = len(known) == len(rows)
        return Point(
            x,
            sum(row.metrics[self.metric] for row in rows) / len(rows),
            sum(span[0] for span in known) / len(rows) if whole else None,
            sum(span[1] for span in known) / len(rows) if whole else None,
        )

    def _one(self, rows: Sequence[Row], lines: dict[str, list[Point]], apart: str) -> Drawing:
        made = canvas(5.6, 3.9)
        axes = made.subplots()
        percent = self.percent and unit_of(self.metric) == "proportion"
        scale = 100.0 if percent else 1.0
        for number, (label, points) in enumerate(lines.items()):
            ends = [
                (point.value - point.low, point.high - point.value)
                for point in points
                if point.low is not None and point.high is not None
            ]
            bars = list(zip(*ends, strict=True)) if len(ends) == len(points) and ends else None
            axes.errorbar(
                [point.x for point in points],
                [scale * point.value for point in points],
                yerr=None if bars is None else [[scale * end for end in side] for side in bars],
                label=label,
                marker=_MARKERS[number % len(_MARKERS)],
                color=f"C{number}",
                capsize=3,
            )
        ticks = sorted({point.x for points in lines.values() for point in points})
        name = self.label or self.x.rpartition(".")[2].replace("_", " ")
        axes.set_xticks(ticks, [readable(tick) for tick in ticks], fontsize=8)
        axes.set_xlabel(name)
        attacks = [*dict.fromkeys(map(_attack, rows))]
        metric = self.metric.replace("_", " ")
        mean = f"mean {metric}" if len(attacks) > 1 else metric
        axes.set_ylabel(mean + (", %" if percent else ""))
        if percent:
            axes.set_ylim(0, 100)
        axes.grid(alpha=0.3)
        if any(lines):
            axes.legend(fontsize=8)
        heading(made, self.titled(apart), any(row.phantom for row in rows))
        said = f"{mean[:1].upper()}{mean[1:]} against {name}, over {', '.join(attacks)}."
        caption = said + " Bars: 95 % intervals (of a mean, the mean of its parts' ends)."
        return Drawing("_".join(filter(None, (self.name, apart.replace(", ", "_")))), caption, made)


def _attack(row: Row) -> str:
    return row.cell.get("attack", "")


def _setting(row: Row, key: str) -> object:
    parent, _, name = key.partition(".")
    variant = row.attack_variant if parent == "attack" else row.defense_variant
    return flatten(variant).get(name)


def _number(row: Row, key: str) -> float | None:
    value = _setting(row, key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return fraction(value, key, low=-1e12, high=1e12)
    except NumberError:
        return None


KIND = Curve
