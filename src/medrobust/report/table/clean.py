"""Clean values of a table that has no row of clean images."""

from collections.abc import Callable, Sequence

from medrobust.metric.definition import heading_of
from medrobust.report.table.config import TableConfig
from medrobust.report.table.label import Level, flatten
from medrobust.report.table.measure import printed
from medrobust.report.table.name import NAMES
from medrobust.report.table.seeds import mean_sd
from medrobust.report.table.setting import ABSENT
from medrobust.report.table.table import METRIC, Cell, Heading
from medrobust.result.flag import Flag
from medrobust.result.row import Row

CLEAN = "clean"
"""Heading of the column."""

PREFIX = "clean_"
"""Start of a metric's name on clean images."""

CHOICES = {choice for choice, name in NAMES["attack"].items() if name == CLEAN}
"""Attacks that change no image."""

Grid = tuple[tuple[Cell, ...], ...]


class CleanValues:
    """Adds the clean values that the rows of a table have measured before their attacks.

    They take the place that `attack=none` would have: a column where the attack is a column axis, a
    line where it is a row axis. Where it is neither, they are a column before those of the threats,
    or of the metrics of a single attack.

    Args:
        config: config of the table.
        flags: returns the flags of a row's clean value.
    """

    def __init__(self, config: TableConfig, flags: Callable[[Row], Sequence[Flag]]) -> None:
        self.config, self.flags = config, flags
        self._unlike: dict[str, None] = {}

    def added(
        self, down: tuple[Heading, ...], across: tuple[Heading, ...], cells: Grid
    ) -> tuple[tuple[Heading, ...], tuple[Heading, ...], Grid]:
        """Return headings and cells with clean values, or as they are where none are wanted.

        Args:
            down: headings of the lines.
            across: headings of the columns.
            cells: line by line.
        """
        if self._wanted(cells):
            lines = any(map(_of_attack, down[0])) and not any(map(_of_attack, across[0]))
            if lines:
                down, cells = self._extended(down, across, cells)
            else:
                across, turned = self._extended(across, down, tuple(zip(*cells, strict=True)))
                cells = tuple(zip(*turned, strict=True))
        return down, across, cells

    @property
    def notes(self) -> list[str]:
        """Return a sentence on lines without a clean value because their rows disagree."""
        spans = "; ".join(self._unlike)
        said = "No clean value where the attacks of a line met other images or draws"
        return [f"{said}: {spans}."] if spans else []

    def _wanted(self, cells: Grid) -> bool:
        config = self.config
        rows = [row for line in cells for cell in line for row in cell.members]
        names = {f"{PREFIX}{name}" for name in config.metrics or (config.metric,)}
        asked = any(row.cell.get("attack") in CHOICES for row in rows)
        shown = names & {*config.extra, *config.metrics}
        return config.clean and not asked and not shown and any(names & {*r.metrics} for r in rows)

    def _extended(
        self, along: tuple[Heading, ...], other: tuple[Heading, ...], lines: Grid
    ) -> tuple[tuple[Heading, ...], Grid]:
        """Return lines with clean ones before those that differ in the attacker alone.

        A line without any value is left out.
        """
        found: list[tuple[Heading, tuple[Cell, ...]]] = []
        begun: set[Heading] = set()
        places = [
            None if all(cell.derived for cell in line) else _place(heading)
            for heading, line in zip(along, lines, strict=True)
        ]
        for number, (heading, line) in enumerate(zip(along, lines, strict=True)):
            place = places[number]
            if place is not None and place[0] not in begun:
                begun.add(place[0])
                group = {one[1]: None for one in places if one and one[0] == place[0]}
                for clean in group:
                    sources = [at for at, one in enumerate(places) if one == (place[0], clean)]
                    made = self._line([lines[at] for at in sources], along[sources[0]], other)
                    if any(cell.value is not None for cell in made):
                        found.append((clean, made))
            found.append((heading, line))
        headings, extended = zip(*found, strict=True)
        return headings, extended

    def _line(
        self, lines: Sequence[Sequence[Cell]], heading: Heading, other: Sequence[Heading]
    ) -> tuple[Cell, ...]:
        across = zip(*lines, strict=True)
        return tuple(
            self._cell(cells, self._metric((*heading, *one)))
            for one, cells in zip(other, across, strict=True)
        )

    def _metric(self, place: Heading) -> str:
        found = (level.choice for level in place if level.axis == METRIC)
        return next(found, self.config.metric)

    def _cell(self, cells: Sequence[Cell], metric: str) -> Cell:
        """Return the clean value of some cells, which differ in the attacker alone.

        Over seeds it is the mean of each seed's. There is none where rows of one seed disagree.
        """
        name = f"{PREFIX}{metric}"
        if all(cell.derived for cell in cells):
            return Cell(metric=name, derived=True, unmeasured=True)
        seeds = [
            [row for row in rows if row.status == "done"] for rows in self._by_seed(cells).values()
        ]
        if not seeds or not all(seeds):
            return Cell(metric=name, derived=True)
        if any(
            {_reading(row, name) for row in rows} != {_reading(rows[0], name)} for rows in seeds
        ):
            self._note([row for rows in seeds for row in rows], metric, name)
            return Cell(metric=name, derived=True, unmeasured=True)
        members = [rows[0] for rows in seeds]
        values = [row.metrics[name] for row in members if name in row.metrics]
        if len(values) < len(members):
            return Cell(metric=name, derived=True, unmeasured=True)
        value, sd = mean_sd(values)
        span = members[0].intervals.get(name) if len(members) == 1 else None
        return Cell(
            value=value,
            interval=(span[0], span[1]) if span else None,
            flags=tuple(dict.fromkeys(flag for row in members for flag in self.flags(row))),
            metric=name,
            unit=self.config.unit_of(metric),
            derived=True,
            rows=tuple(members),
            sd=sd,
        )

    def _by_seed(self, cells: Sequence[Cell]) -> dict[tuple[object, ...], list[Row]]:
        found: dict[tuple[object, ...], list[Row]] = {}
        for row in {row.id: row for cell in cells for row in cell.members}.values():
            config = flatten(row.config)
            seeds = tuple(config.get(key) for key in self.config.over_keys)
            found.setdefault(seeds, []).append(row)
        return found

    def _note(self, rows: Sequence[Row], metric: str, name: str) -> None:
        values = sorted(row.metrics[name] for row in rows if name in row.metrics)
        unit = self.config.unit_of(metric)
        ends = dict.fromkeys(printed(v, unit, percent=self.config.percent) for v in values)
        low, *_, high = [*ends] * 2
        counts = sorted({row.n for row in rows})
        sizes = f", n = {counts[0]} to {counts[-1]}" if len(counts) > 1 else ""
        self._unlike[(low if low == high else f"{low} to {high}") + sizes] = None


def _reading(row: Row, name: str) -> tuple[object, ...]:
    return row.metrics.get(name), tuple(row.intervals.get(name, ())), row.n


def _of_attack(level: Level) -> bool:
    return level.axis.partition(".")[0] == "attack"


def _place(heading: Heading) -> tuple[Heading, Heading] | None:
    """Return what stands before the attacker in a heading, and the heading of its clean value."""
    threats = ("threat", "surrogate")
    for belongs in (_of_attack, lambda level: level.axis in threats):
        at = [number for number, level in enumerate(heading) if belongs(level)]
        if at:
            clean = [
                level
                if number not in at
                else Level(level.axis, "none", CLEAN)
                if number == at[0]
                else Level(level.axis, ABSENT, ABSENT)
                for number, level in enumerate(heading)
            ]
            return heading[: at[0]], tuple(clean)
    last = heading[-1]
    if last.axis != METRIC:
        return None
    name = f"{PREFIX}{last.choice}"
    return heading[:-1], (*heading[:-1], Level(METRIC, name, heading_of(name)))
