"""Charts of robust accuracy against ε, for attacks that a sweep runs at several budgets."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from medrobust.metric.definition import Unit
from medrobust.number import fraction
from medrobust.report.page.cell import CellView
from medrobust.report.table.crosscheck import RETUNED
from medrobust.report.table.label import comparable, flatten, readable
from medrobust.report.table.name import named
from medrobust.result.row import CELL, Row

_NORMS = {"linf": "L∞", "l2": "L2"}
LEFT, RIGHT, TOP, BOTTOM, WIDTH, HEIGHT = 58, 28, 12, 44, 560, 320


@dataclass(frozen=True)
class Point:
    """A measured value.

    Attributes:
        eps: budget in [0, 1] pixel units.
        value: value of the table's metric.
        low: lower end of its interval, or None.
        high: upper end, or None.
    """

    eps: float
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Line:
    """One defense of a chart.

    Attributes:
        label: name of the defense.
        points: points by rising ε.
    """

    label: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Chart:
    """Chart of one attack.

    Attributes:
        title: attack and the settings that identify the chart.
        norm: norm of the budget, such as `L∞`.
        lines: one line per defense.
        low: value at the bottom.
        high: value at the top.
    """

    title: str
    norm: str
    lines: tuple[Line, ...]
    low: float
    high: float

    @property
    def budgets(self) -> list[float]:
        """Return every ε of the chart, rising."""
        return sorted({point.eps for line in self.lines for point in line.points})

    @property
    def ticks(self) -> list[float]:
        """Return the budgets that are far enough apart for their labels."""
        kept: list[float] = []
        for eps in self.budgets:
            if not kept or self.x(eps) - self.x(kept[-1]) > 60:
                kept.append(eps)
        return kept

    @property
    def levels(self) -> list[float]:
        """Return the values of the horizontal lines."""
        return [self.low + (self.high - self.low) * step / 5 for step in range(6)]

    def x(self, eps: float) -> float:
        """Return the horizontal position of a budget, from the left."""
        return round(LEFT + (WIDTH - LEFT - RIGHT) * eps / self.budgets[-1], 1)

    def y(self, value: float) -> float:
        """Return the vertical position of a value, from the top."""
        share = (value - self.low) / (self.high - self.low)
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - share), 1)


def charts(views: Sequence[CellView], metric: str, unit: Unit) -> list[Chart]:
    """Return one chart per attack (threat, victim, settings) that ran with several ε.

    A line begins at ε = 0 with the clean value if the rows have it.

    Args:
        views: cells of a table.
        metric: metric to draw.
        unit: unit of the metric; proportions are drawn from 0 to 1.
    """
    groups: dict[Hashable, dict[Hashable, list[CellView]]] = {}
    for view in views:
        if view.row is None or metric not in view.row.metrics or _eps(view.row) is None:
            continue
        attack, defense = _keys(view.row)
        groups.setdefault(attack, {}).setdefault(defense, []).append(view)
    kept = [
        lines
        for lines in groups.values()
        if any(len({_eps(view.row) for view in line if view.row}) > 1 for line in lines.values())
    ]
    firsts = [next(iter(lines.values()))[0].row for lines in kept]
    titles = _titles([row for row in firsts if row is not None])
    return [
        _chart(title, list(lines.values()), metric, unit)
        for title, lines in zip(titles, kept, strict=True)
    ]


def _chart(title: str, groups: list[list[CellView]], metric: str, unit: Unit) -> Chart:
    lines = tuple(Line(group[0].defense, tuple(_points(group, metric))) for group in groups)
    ends = [
        end
        for line in lines
        for point in line.points
        for end in (point.value, point.low, point.high)
        if end is not None
    ]
    row = groups[0][0].row
    norm = str(flatten(row.attack_variant).get("norm", "")) if row else ""
    low, high = min(0.0, *ends), max(1.0 if unit == "proportion" else 1e-9, *ends)
    return Chart(title, _NORMS.get(norm, norm), lines, low, high)


def _points(group: list[CellView], metric: str) -> list[Point]:
    points = {}
    for view in group:
        row = view.row
        assert row is not None
        for eps, name in ((0.0, f"clean_{metric}"), (_eps(row), metric)):
            if eps is not None and name in row.metrics:
                low, high = row.intervals.get(name, (None, None))
                points[eps] = Point(eps, row.metrics[name], low, high)
    return [points[eps] for eps in sorted(points)]


def _eps(row: Row) -> float | None:
    value = flatten(row.attack_variant).get("eps")
    return None if value is None else fraction(value, "eps", high=1e9)


def _keys(row: Row) -> tuple[Hashable, Hashable]:
    attack = {
        key: value
        for key, value in flatten(row.attack_variant).items()
        if key not in ("eps", *RETUNED)
    }
    names = tuple(row.cell.get(axis, "") for axis in CELL if axis != "defense")
    # Rows that differ in anything else (split, quantisation) must not share a line.
    rest = {key: value for key, value in row.config.items() if key not in ("attack", "defense")}
    rest.pop("eps", None)
    draws = rest.pop("defender_draws", 1)  # a deterministic defense has one, whatever was asked
    return (
        (names, comparable(attack), row.seed, comparable(rest)),
        (row.cell.get("defense", ""), comparable(flatten(row.defense_variant)), draws),
    )


def _titles(rows: Sequence[Row]) -> list[str]:
    """Return a title per chart: attack, threat, and whatever else differs."""
    axes = [
        axis
        for axis in CELL
        if axis in ("attack", "threat")
        or (axis != "defense" and len({row.cell.get(axis) for row in rows}) > 1)
    ]
    settings = [
        {f"attack.{key}": value for key, value in flatten(row.attack_variant).items()}
        | {"seed": row.seed}
        | {key: value for key, value in flatten(row.config).items() if "." not in key}
        for row in rows
    ]
    keys = [
        key
        for key in dict.fromkeys(key for own in settings for key in own)
        if key not in ("attack.eps", *(f"attack.{name}" for name in RETUNED), *CELL)
        and not key.endswith(("class", "_target_"))
        and len({readable(own.get(key)) for own in settings}) > 1
    ]
    return [
        " · ".join(
            [
                *(
                    named(axis, row.cell.get(axis, ""), {})[0]
                    for axis in ("attack", *(a for a in axes if a != "attack"))
                ),
                *(
                    f"{key.removeprefix('attack.')} {readable(own[key])}"
                    for key in keys
                    if key in own
                ),
            ]
        )
        for row, own in zip(rows, settings, strict=True)
    ]
