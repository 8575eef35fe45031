"""The page of a table: what was run, the table beside the paper's, and what the rows add up to."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from medrobust.report.atlas.config import About
from medrobust.report.bundle.bundle import Bundle
from medrobust.report.figure.core.draw import FOLDER, Drawn
from medrobust.report.render import markdown
from medrobust.report.render.markdown import paragraph
from medrobust.report.sweep import records_of
from medrobust.report.table.pivot import build, remeasured
from medrobust.report.table.table import Cell, Table
from medrobust.result.row import Row

CLOSE = 0.05
"""Difference from a printed number up to which a cell is counted as close."""


def table_page(about: About, bundle: Bundle, drawn: Sequence[Drawn] = ()) -> str:
    """Return the Markdown page of a table.

    Args:
        about: what the rows do not say.
        bundle: the rows.
        drawn: figures of the rows, which lie in the folder `figures`.
    """
    tables = tables_of(about, bundle)
    own = tables[0]
    lines = [f"# {about.title}", "", paragraph(about.images)]
    if about.victim:
        lines += ["", paragraph(about.victim)]
    lines += ["", *_commands(about, bundle), "", *_counts(bundle, own)]
    for heading, said in (
        ("Chosen where the paper is silent", about.chosen),
        ("Contradictions of the paper", about.contradictions),
    ):
        if said:
            lines += ["", f"## {heading}", "", *(f"- {paragraph(text)}" for text in said)]
    for table in tables:
        lines += ["", markdown.render(table).rstrip()]
    for one in drawn:
        caption = paragraph(one.caption)
        lines += ["", f"![{caption}]({FOLDER}/{one.name}.svg)", "", caption]
    return "\n".join(lines) + "\n"


def tables_of(about: About, bundle: Bundle) -> list[Table]:
    """Return the table of the bundle's own metric, then one for each further metric."""
    sweep, code = bundle.sweep, bundle.note.package
    records = records_of(sweep)
    configs = [sweep.config, *(remeasured(sweep.config, name) for name in about.metrics)]
    made = [build(sweep.rows, config, records, code=code) for config in configs]
    return [
        made[0],
        *(
            replace(table, title=f"{made[0].title}: {name.replace('_', ' ')}")
            for name, table in zip(about.metrics, made[1:], strict=True)
        ),
    ]


def largest_class(rows: Sequence[Row]) -> float | None:
    """Return the share of the largest class among the images, None without classes."""
    shares = [
        max(map(sum, row.clean_confusion)) / total
        for row in rows
        if row.clean_confusion and (total := sum(map(sum, row.clean_confusion)))
    ]
    return max(shares, default=None)


def compared(table: Table) -> Iterator[Cell]:
    """Yield the cells that stand next to a number of the paper."""
    for line in table.cells:
        yield from (cell for cell in line if cell.difference is not None)


def _commands(about: About, bundle: Bundle) -> list[str]:
    commands = [f"medrobust train {words}" for words in about.train]
    commands.append(f"medrobust evaluate -m {about.evaluate}")
    note = bundle.note
    return [
        "```sh",
        *commands,
        "```",
        "",
        f"Made at revision `{note.revision}`, package digest `{note.package[:12]}`.",
    ]


def _counts(bundle: Bundle, table: Table) -> list[str]:
    """Return sentences on how much was run, how long, and how many numbers agree."""
    rows = bundle.sweep.rows
    hours = sum(row.seconds.get("total", 0.0) for row in rows) / 3600
    lines = [
        f"{len(rows)} of {bundle.note.jobs} cells were computed, in {hours:.1f} hours of one core "
        "and what shared the machine."
    ]
    majority = largest_class(rows)
    if majority is not None and majority > 0.5:
        lines += [
            "",
            f"The largest class holds {100 * majority:.1f} % of the images: a system that always "
            "answers it has that accuracy under every attack.",
        ]
    cells = list(compared(table))
    if cells:
        gaps = [abs(cell.difference or 0.0) for cell in cells]
        inside = sum(bool(cell.paper_in_interval) for cell in cells)
        close = sum(gap <= CLOSE for gap in gaps)
        lines += [
            "",
            f"Of {len(cells)} printed numbers, {inside} lie in our 95 % interval and {close} "
            f"within {100 * CLOSE:.0f} points; the mean distance is "
            f"{100 * sum(gaps) / len(gaps):.1f} points.",
        ]
    return lines
