"""Derived columns: the mean of a line, and measures of its clean cell."""

from collections.abc import Mapping, Sequence

from medrobust.metric.definition import Unit, heading_of
from medrobust.report.table.config import TableConfig
from medrobust.report.table.label import Level, flatten
from medrobust.report.table.measure import measure
from medrobust.report.table.paper_number import paper_value
from medrobust.report.table.reference_config import ReferenceConfig
from medrobust.report.table.seeds import mean_sd
from medrobust.report.table.table import Cell, Heading
from medrobust.report.table.worst import WorstCase, worst_columns

Cells = tuple[tuple[Cell, ...], ...]


def with_derived(
    down: Sequence[Heading],
    across: Sequence[Heading],
    made: Mapping[tuple[Heading, Heading], Cell],
    config: TableConfig,
    reference: ReferenceConfig | None,
    worst: WorstCase,
) -> tuple[tuple[Heading, ...], Cells]:
    """Return all cells of a table, with the columns of `config.mean` and `config.extra` added.

    Columns that agree up to the innermost axis (the attacks on one data set) are followed by their
    own worst case, mean and extra columns.

    Args:
        down: headings of the lines.
        across: headings of the columns.
        made: (line, column) -> cell; absent ones are missing.
        config: config of the table.
        reference: the paper's table; None without reference numbers.
        worst: computes worst cases.

    Returns:
        Headings of all columns, and the cells by line.
    """
    groups: dict[Heading, list[Heading]] = {}
    for heading in across:
        groups.setdefault(heading[:-1], []).append(heading)
    headings: list[Heading] = []
    lines: list[list[Cell]] = [[] for _ in down]
    for outer, members in groups.items():
        axis = members[0][-1].axis
        worsts = worst_columns(worst, down, members, made)
        added = [*worsts, *([config.mean.label] if config.mean else [])]
        added += [heading_of(name) for name in config.extra]
        headings += [*members, *((*outer, Level(axis, label, label)) for label in added)]
        for number, (line, place) in enumerate(zip(lines, down, strict=True)):
            cells = [made.get((place, heading), Cell()) for heading in members]
            line += [*cells, *(column[number] for column in worsts.values())]
            if config.mean:
                choices = [heading[-1].choice for heading in members]
                line.append(_mean(choices, cells, config, reference))
            line += [_extra(cells, name, config.unit_of(name), reference) for name in config.extra]
    return tuple(headings), tuple(tuple(line) for line in lines)


def _mean(
    choices: Sequence[str],
    cells: Sequence[Cell],
    config: TableConfig,
    reference: ReferenceConfig | None,
) -> Cell:
    """Return the mean over some columns; it has a value only if all of them have one.

    Its interval is the mean of their ends: the cells share their images, so averaging need not
    narrow it.
    """
    mean = config.mean
    assert mean is not None
    parts = [cell for choice, cell in zip(choices, cells, strict=True) if choice in mean.over]
    values = [cell.value for cell in parts if cell.value is not None]
    name = f"{config.metric}_mean"
    if not set(mean.over) <= set(choices) or len(values) < len(parts):
        return Cell(metric=name, derived=True)
    spans = [cell.interval for cell in parts if cell.interval]
    ends = [sum(side) / len(parts) for side in zip(*spans, strict=True)]
    rows = [row for cell in parts for row in cell.members]
    paper = None
    if reference and rows:
        # The paper prints the mean per budget, which not every attack has.
        attacked = [row for row in rows if flatten(row.attack_variant).get("eps") is not None]
        theirs = mean.metric or f"{reference.metric}_mean"
        paper = paper_value((attacked or rows)[0], reference, theirs, mean.attack)
    return Cell(
        value=sum(values) / len(values),
        interval=(ends[0], ends[1]) if len(spans) == len(parts) else None,
        paper=paper,
        metric=name,
        unit=config.unit_of(config.metric),
        derived=True,
    )


def _extra(cells: Sequence[Cell], name: str, unit: Unit, reference: ReferenceConfig | None) -> Cell:
    clean = (cell.members for cell in cells if cell.members)
    rows = next((rows for rows in clean if rows[0].cell.get("attack") == "none"), ())
    values = [found for row in rows if (found := measure(row, name)) is not None]
    value, sd = mean_sd(values) if values and len(values) == len(rows) else (None, None)
    paper = None
    if reference and value is not None:
        paper = paper_value(rows[0], reference, reference.metrics.get(name, name))
    return Cell(
        value=value,
        sd=sd,
        paper=paper,
        metric=name,
        unit=unit,
        derived=True,
        unmeasured=value is None and bool(rows) and rows[0].status == "done",
    )
