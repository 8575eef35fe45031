"""Pivot rows into a table of our numbers, the paper's, and missing cells."""

from collections.abc import Sequence
from dataclasses import replace

from medrobust.code.package import package_digest
from medrobust.metric.definition import definition, heading_of
from medrobust.report.table.clean import CleanValues
from medrobust.report.table.config import TableConfig
from medrobust.report.table.crosscheck import crosschecks
from medrobust.report.table.footnote import caption, notes, provenance
from medrobust.report.table.label import Level, varying
from medrobust.report.table.layout import places, spread
from medrobust.report.table.measure import OF_TIME, measure
from medrobust.report.table.node import TableError
from medrobust.report.table.paper_number import paper_value
from medrobust.report.table.reference_config import ReferenceConfig
from medrobust.report.table.scores import Records, Scores, no_records
from medrobust.report.table.seeds import over_seeds
from medrobust.report.table.setting import absent, hidden
from medrobust.report.table.table import METRIC, Cell, Heading, Table
from medrobust.report.table.worst import WorstCase
from medrobust.result.flag import Flag
from medrobust.result.row import Row
from medrobust.result.stale import code_flags


def build(
    rows: Sequence[Row],
    config: TableConfig,
    records: Records = no_records,
    *,
    code: str | None = None,
) -> Table:
    """Pivot rows into a table.

    An axis that varies and is in neither `config.rows` nor `config.columns` is put before the row
    axes, so that no row hides another. Attacks or defenses that setting axes already distinguish
    (`defense.noise`, `defense.denoiser`) need no axis of their own.

    Args:
        rows: rows in the order of the sweep, which is the order of the table.
        config: config of the table.
        records: reads the record of a row's images, from which worst cases are computed.
        code: digest of the package's code that rows must be made by; None for that of today.

    Raises:
        TableError: no rows, phantom and real data mixed, no row with the metric, or two rows of
            one config.
        PaperError: the paper prints several different numbers for a cell.
    """
    rows = list({row.id: row for row in rows}.values())
    from medrobust.report.table.derived import with_derived

    names = config.metrics or (config.metric,)
    phantom = _checked(rows, names, config)
    # A metric of a task without rows makes no column.
    names = tuple(n for n in names if any(measure(row, n) is not None for row in rows)) or names
    placed = (*config.rows, *config.columns)
    spare = [axis for axis in varying(rows) if axis not in (*placed, *config.over)]
    row_axes = [*hidden(rows, placed, spare), *config.rows]
    axes = [*row_axes, *config.columns]
    side, top = [], []
    for place in places(rows, axes, config.merge, config.columns, config.over_keys):
        side.append((*place[: len(row_axes)], *place[len(axes) :]))
        top.append(tuple(place[len(row_axes) : len(axes)]))
    checked, today, several = crosschecks(rows), code or package_digest(), len(names) > 1
    reference = None if phantom else config.reference
    found: dict[tuple[Heading, Heading], list[Cell]] = {}
    for row, line, column in spread(rows, side, top, config.spread):
        for name in names:
            level = (Level(METRIC, name, heading_of(name)),) if config.metrics else ()
            checks = [*checked.get(row.id, []), *code_flags(row, today)]
            one = _cell(row, name, checks, reference, config, several)
            found.setdefault((line, (*column, *level)), []).append(one)
    made = {
        place: over_seeds(cells) if config.over else cells[-1] for place, cells in found.items()
    }
    papers = {row.id: cell.paper for cell in made.values() for row in cell.members if cell.paper}
    down, across = _ordered([one for one, _ in made]), _ordered([other for _, other in made])
    across, cells = with_derived(
        *(down, across, made, config, reference), WorstCase(config, Scores(config.metric, records))
    )
    clean = CleanValues(config, lambda row: code_flags(row, today))
    down, across, cells = clean.added(down, across, cells)
    flags = tuple(dict.fromkeys(flag for line in cells for cell in line for flag in cell.flags))
    title = config.title or names[0].replace("_", " ")
    return Table(
        title=f"PHANTOM DATA, no result: {title}" if phantom else title,
        caption=caption(rows),
        metric=names[0],
        percent=config.percent,
        best="none" if phantom else config.best,
        row_headings=down,
        column_headings=across,
        row_axes=_shown(down),
        column_axes=_shown(across),
        cells=cells,
        flags=flags,
        notes=(*clean.notes, *notes(rows, config, reference, papers), *absent(rows, placed)),
        provenance=tuple(provenance(rows)),
        phantom=phantom,
        apart=config.spread,
        units=config.units,
        own_attacks=config.own_attacks,
    )


def remeasured(config: TableConfig, metric: str) -> TableConfig:
    """Return the config for another metric.

    The paper's numbers are those of its metric of the same name, or of the name that
    `table.reference.metrics` gives it.
    """
    reference = config.reference
    if reference is not None:
        reference = replace(reference, metric=reference.metrics.get(metric, metric))
    return replace(config, metric=metric, metrics=(), also=(), reference=reference)


def further(rows: Sequence[Row], config: TableConfig, records: Records = no_records) -> list[Table]:
    """Return the tables of `config.also`, without metrics that no row has.

    Args:
        rows: rows in the order of the sweep.
        config: config of the table.
        records: reads the record of a row's images.

    Raises:
        TableError, PaperError: as in `build`.
    """
    title = config.title or config.metric.replace("_", " ")
    found = {name: f"{title}: {heading_of(name)}" for name in config.also if _measured(rows, name)}
    configs = [replace(remeasured(config, name), title=said) for name, said in found.items()]
    return [build(rows, one, records) for one in configs]


def _checked(rows: Sequence[Row], metrics: Sequence[str], config: TableConfig) -> bool:
    if not rows:
        raise TableError("there are no rows to make a table of")
    real = [row for row in rows if not row.phantom]
    stand_in = [row for row in rows if row.phantom]
    if real and stand_in:
        raise TableError(
            f"phantom rows ({stand_in[0].cell.get('data')}: {stand_in[0].id}, …) and real rows "
            f"({real[0].cell.get('data')}: {real[0].id}, …) cannot stand in one table"
        )
    done = [row for row in rows if row.status == "done" and row.metrics]
    names = sorted({name for row in done for name in row.metrics})
    for metric in (*metrics, *config.extra):
        # Some of several metrics may belong to another task.
        spare = metric != metrics[0] or len(metrics) > 1 or metric in OF_TIME
        if done and not (spare and definition(metric)) and not _measured(done, metric):
            raise TableError(f"no row has the metric {metric!r}; table.metric is one of {names}")
    return bool(stand_in)


def _measured(rows: Sequence[Row], metric: str) -> bool:
    return any(measure(row, metric) is not None for row in rows)


def _cell(
    row: Row,
    metric: str,
    checks: list[Flag],
    reference: ReferenceConfig | None,
    config: TableConfig,
    several: bool,
) -> Cell:
    done = row.status == "done"
    span = row.intervals.get(metric) if done else None
    value, paper = measure(row, metric), None
    # A row may lack some of several metrics; those get no reference number.
    if reference and done and (value is not None or not several):
        theirs = reference.metrics.get(metric, metric) if several else reference.metric
        paper = paper_value(row, reference, theirs)
    return Cell(
        row=row,
        value=value,
        interval=(span[0], span[1]) if span else None,
        flags=tuple(dict.fromkeys((*row.flags, *checks))) if done else (),
        paper=paper,
        metric=metric,
        unit=config.unit_of(metric),
    )


def _ordered(headings: list[Heading]) -> tuple[Heading, ...]:
    """Return each heading once, ordered by the first appearance of its levels."""
    ranks = [
        {level: rank for rank, level in enumerate(dict.fromkeys(axis))}
        for axis in zip(*headings, strict=True)
    ]
    return tuple(
        sorted(
            dict.fromkeys(headings),
            key=lambda place: [rank[level] for rank, level in zip(ranks, place, strict=True)],
        )
    )


def _shown(headings: tuple[Heading, ...]) -> tuple[str, ...]:
    axes = [level.axis for level in headings[0]]
    vary = [
        axis
        for axis, place in zip(axes, zip(*headings, strict=True), strict=True)
        if len(set(place)) > 1
    ]
    return tuple(vary or axes[-1:])
