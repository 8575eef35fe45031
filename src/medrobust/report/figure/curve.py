"""Curves of a metric against a setting: accuracy against ε, N or σ² (MDDA, Figure 7)."""

from collections.abc import Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from medrobust.metric.definition import heading_of, unit_of
from medrobust.report.figure.core.axis import axis_of, show_scale
from medrobust.report.figure.core.base import Drawing, Figure, FigureError, Source, canvas, heading
from medrobust.report.figure.core.base import several as names
from medrobust.report.figure.core.caption import notes
from medrobust.report.figure.core.lines import draw_lines, legend_below
from medrobust.report.figure.core.series import (
    Line,
    Runs,
    apart,
    but_seeds,
    clean_point,
    complete,
    point,
    put,
    same_images,
    seeds_of,
    unfinished,
)
from medrobust.report.figure.core.setting import attack_of, number_of, setting_of, symbol
from medrobust.report.figure.core.style import INCHES, Width
from medrobust.report.table.config import SEEDS
from medrobust.report.table.crosscheck import RETUNED
from medrobust.report.table.label import axis_value, comparable, differing, flatten, readable
from medrobust.report.table.name import PARTS
from medrobust.report.table.node import is_setting
from medrobust.result.row import CELL, Row

_LINES = ("attack", "defense", "threat")
_EPS = "attack.eps"
_FIX = "choose one by `where`, or separate them by `line`"
_HEIGHT = 2.3  # inches, without the legend


@dataclass(frozen=True, kw_only=True)
class Curve(Figure):
    """Lines of a metric against a setting, each point the mean over some attacks.

    A point is drawn only where every attack of `over` is finished. An attack without the setting
    of `line` (`none` and CW have no eps) counts for every line. Lines against `attack.eps` begin at
    ε = 0 with the clean value, if the metric has one. The bands are the 95 % intervals, for a mean
    the mean ends of its attacks' intervals: all attacks share the images, so averaging does not
    narrow them. With `table.over`, a line is the mean over these seeds, its band one standard
    deviation to either side, and a point needs every seed of its line.

    Attributes:
        x: setting along the axis, such as `defense.steps`, `attack.eps` or, of the victim's
            training, `victim.max_epochs`.
        over: choices of `attack` to average over; empty for those that ran.
        line: setting with a line per value, such as `attack.eps`, or one of `attack`, `defense` and
            `threat`; empty for `defense`.
        defense: choices of `defense`; empty for those that have the setting.
        threat: choices of `threat`; empty for all.
        where: required values of settings, such as `{defense.sigma2: 0.125}`; rows without the
            setting pass.
        metric: key of `Row.metrics`.
        percent: show a proportion in percent, from 0 to 100.
        label: name of the setting on the axis; by default its own.
        width: `column` or `page` of a paper.
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
    width: Width = "column"

    def check(self) -> None:
        """Raise `FigureError` if a setting or a list of choices is invalid."""
        line = () if self.line in _LINES else (self.line,)
        for key in filter(None, (self.x, *line, *self.where)):
            if not is_setting(str(key)):
                raise FigureError(f"{key!r} is no setting such as defense.steps")
        if not self.x:
            raise FigureError("x is empty; expected a setting such as defense.steps")
        if self.width not in INCHES:
            raise FigureError(f"width={self.width!r}, expected one of {', '.join(INCHES)}")
        for key in ("over", "defense", "threat"):
            names(key, getattr(self, key))

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing per data set, victim, threat and seed, or for all seeds together."""
        axes = [axis for axis in CELL if axis not in ("attack", "defense", self.line)]
        axes += [seed for seed in SEEDS if seed not in source.over]
        rest = [row for row in source.rows if self.metric not in row.metrics]
        lacking = unfinished([*source.failed, *rest], source.over)
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in source.rows:
            if self._wanted(row):
                groups.setdefault(tuple(axis_value(row, axis) for axis in axes), []).append(row)
        drawings = []
        for key, members in groups.items():
            lines = dict(self.lines(members, source.over, lacking))
            if any(line.points for line in lines.values()):
                said = apart(axes, key, groups)
                drawings.append(self._one(members, lines, said, source.over))
        if not drawings:
            over = list(self.over) or "all attacks"
            raise FigureError(
                f"no value of {self.x} has {self.metric} finished for {over}"
                f"{' and every seed of a line' if source.over else ''}: is the sweep complete, and "
                "does it sweep this setting?"
            )
        return drawings

    def lines(
        self,
        rows: Sequence[Row],
        over: Sequence[str] = (),
        lacking: Collection[Hashable] = (),
    ) -> Iterator[tuple[str, Line]]:
        """Yield the label of each line and the line.

        Args:
            rows: rows of one data set, victim, threat and seed.
            over: seeds to average over, from `table.over`.
            lacking: configs in which a seed is not finished.
        """
        keys = dict.fromkeys(key for row in rows if (key := self._line(row)) is not None)
        several = len({row.cell.get("defense") for row in rows}) > 1
        for key in keys or {("", ""): None}:
            places: dict[float, Runs] = {}
            seeds: dict[Hashable, None] = {}
            for row in rows:
                x = number_of(row, self.x)
                if x is None or self._line(row) not in (key, None):
                    continue
                seed, where = seeds_of(row, over), f"{self.x}={readable(x)}"
                seeds[seed] = None
                put(places.setdefault(x, {}), attack_of(row), seed, row, where, _FIX)
            attacks = self._attacks(rows, places)
            for x, runs in list(places.items()):
                on_line = (row for name in attacks for row in runs.get(name, {}).values())
                if lacking and any(but_seeds(row, over) in lacking for row in on_line):
                    del places[x]
            label = " · ".join(filter(None, key if several else key[1:])) or key[0]
            yield label, self._points(places, attacks, list(seeds), spread=bool(over))

    def _points(
        self,
        places: dict[float, Runs],
        attacks: tuple[str, ...],
        seeds: Sequence[Hashable],
        *,
        spread: bool,
    ) -> Line:
        kept = {x: runs for x, runs in sorted(places.items()) if complete(runs, attacks, seeds)}
        if not attacks or not kept:
            return Line([], attacks)
        also: dict[str, None] = {}
        for one in seeds:
            for attack in attacks:
                rows = [runs[attack][one] for runs in kept.values()]
                same_images(rows)
                also |= dict.fromkeys(self._also(rows))
        points = [
            point(x, runs, attacks, seeds, self.metric, spread=spread) for x, runs in kept.items()
        ]
        clean = None
        if self.x == _EPS and 0.0 not in kept:
            clean = clean_point(kept, attacks, seeds, self.metric, spread=spread)
        points = points if clean is None else [clean, *points]
        return Line(points, attacks, clean is not None, tuple(also))

    def _also(self, rows: Sequence[Row]) -> list[str]:
        """Return the settings in which rows of one attack and seed differ, but for `x`."""
        own = self.x.rpartition(".")[2]
        differ = differing([flatten(row.config) for row in rows])
        return [key for key in differ if key.rpartition(".")[2] not in (own, *RETUNED)]

    def _attacks(self, rows: Sequence[Row], places: dict[float, Runs]) -> tuple[str, ...]:
        """Return the attacks that a line averages over."""
        asked = names("over", self.over) or tuple(dict.fromkeys(map(attack_of, rows)))
        if self.x.startswith("attack.") or self.line == "attack":
            # Attacks without this setting (clean images) or of another line are not on it.
            return tuple(name for name in asked if any(name in runs for runs in places.values()))
        return asked

    def _line(self, row: Row) -> tuple[str, str] | None:
        """Return defense and label of a row's line; None if it belongs to all lines."""
        defense = row.cell.get("defense", "")
        if self.line in ("", "defense"):
            return defense, ""
        if self.line in _LINES:
            return defense, row.cell.get(self.line, "")
        value = setting_of(row, self.line)
        if value is None:
            return None
        shown = PARTS.get(str(value)) or f"{symbol(self.line)} = {readable(value)}"
        return "", shown

    def _wanted(self, row: Row) -> bool:
        named = (("defense", self.defense), ("threat", self.threat), ("attack", self.over))
        return (
            all(not chosen or row.cell.get(axis) in names(axis, chosen) for axis, chosen in named)
            and all(
                setting_of(row, key) is None
                or comparable(setting_of(row, key)) == comparable(value)
                for key, value in self.where.items()
            )
            and self.metric in row.metrics
            and (self.x.startswith("attack.") or number_of(row, self.x) is not None)
        )

    def _one(
        self, rows: Sequence[Row], lines: dict[str, Line], said: str, over: Sequence[str]
    ) -> Drawing:
        made = canvas(INCHES[self.width], _HEIGHT)
        axes = made.subplots()
        percent = self.percent and unit_of(self.metric) == "proportion"
        axis = axis_of(
            self.x, self.label, [row for row in rows if number_of(row, self.x) is not None]
        )
        empty = [label for label, line in lines.items() if label and not line.points]
        lines = {label: line for label, line in lines.items() if line.points}
        points = {label: line.points for label, line in lines.items()}
        counts = {line.points[0].seeds for line in lines.values()}
        if over and len(counts) > 1:
            points = {
                f"{key} ({(n := p[0].seeds)} seed{'s' * (n > 1)})": p for key, p in points.items()
            }
        drawn = draw_lines(axes, points, across=axis.factor, up=100.0 if percent else 1.0)
        show_scale(axes, axis, [p.x for line in lines.values() for p in line.points])
        averaged = any(len(line.attacks) > 1 for line in lines.values())
        metric = f"{'mean ' if averaged else ''}{heading_of(self.metric)}"
        seeds = f"{counts.pop()} seeds" if len(counts) == 1 else "seeds"
        axes.set_ylabel(
            metric + (" (%)" if percent else "") + (f"\nmean ± SD of {seeds}" if over else "")
        )
        if percent:
            axes.set_ylim(-4, 104)
            axes.set_yticks(range(0, 101, 20))
        axes.grid(visible=True)
        heading(made, self.titled(said), any(row.phantom for row in rows))
        if any(points):
            legend_below(made, drawn)
        attacks = dict.fromkeys(name for line in lines.values() for name in line.attacks)
        caption = (
            f"{metric[:1].upper()}{metric[1:]} against {axis.title}, under {', '.join(attacks)}."
        )
        return Drawing(
            "_".join(filter(None, (self.name, said.replace(", ", "_").replace(" ", "_")))),
            " ".join([caption, *notes(lines, over, self.metric, empty)]),
            made,
        )


KIND = Curve
