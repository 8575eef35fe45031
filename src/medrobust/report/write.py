"""Write a table to files, and a sweep's whole report."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medrobust.report.figure.core.save import PICTURES
from medrobust.report.images import write_images
from medrobust.report.sweep import Sweep, records_of
from medrobust.report.table.difference import differences
from medrobust.report.table.pivot import build, further, remeasured
from medrobust.report.table.scores import Scores
from medrobust.report.table.table import Table
from medrobust.result.sidecar import READERS, gone, state
from medrobust.result.store import RowStore, write_atomically

if TYPE_CHECKING:
    from medrobust.report.figure.core.draw import Drawn

_MODULES = {"csv": "tidy", "md": "markdown", "tex": "latex"}

TABLES = (*_MODULES, *PICTURES)
"""File formats of a table, written as `table.<format>`."""

FORMATS = (*TABLES, "html")
"""Formats of a sweep's report: the table formats and the page `report.html`."""


def write(
    table: Table, folder: str | Path, formats: Sequence[str] = TABLES, *, name: str = "table"
) -> list[Path]:
    """Write a table to files, each atomically.

    Args:
        table: table to write.
        folder: output folder, created if absent.
        formats: formats from `TABLES`.
        name: name of the files, without their format.

    Returns:
        The paths of the files. The same table gives the same bytes.

    Raises:
        ValueError: a format is unknown.
    """
    check_formats(formats, TABLES)
    paths = []
    for kind in formats:
        # Imported on use: drawing libraries take a second to load.
        module = importlib.import_module(f"medrobust.report.render.{_MODULES.get(kind, 'heatmap')}")
        content: str | bytes = module.render(table, *([kind] if kind in PICTURES else []))
        paths.append(Path(folder) / f"{name}.{kind}")
        write_atomically(paths[-1], content.encode() if isinstance(content, str) else content)
    return paths


def write_differences(table: Table, folder: str | Path) -> Path | None:
    """Write `differences.csv`, a line for each test of two defenses, atomically.

    Args:
        table: table whose tests are written.
        folder: output folder, created if absent.

    Returns:
        The path of the file; None without any test.
    """
    if not table.differences:
        return None
    from medrobust.report.render.tidy import lines

    path = Path(folder) / "differences.csv"
    write_atomically(path, lines([asdict(one) for one in table.differences]).encode())
    return path


def check_formats(formats: Sequence[str], known: Sequence[str] = FORMATS) -> None:
    """Raise ValueError if a format is unknown."""
    odd = [kind for kind in formats if kind not in known]
    if odd:
        raise ValueError(f"formats {odd} are unknown; choose from {', '.join(known)}")


def write_page(
    sweep: Sweep, table: Table, folder: str | Path, drawn: "Sequence[Drawn]" = ()
) -> Path:
    """Write the sweep's page atomically.

    Args:
        sweep: the collected sweep.
        table: table of its rows.
        folder: output folder, created if absent.
        drawn: figures of the sweep.

    Returns:
        The path of `report.html`.
    """
    from medrobust.report.page.render import render

    path = Path(folder) / "report.html"
    write_atomically(path, render(sweep, table, drawn).encode())
    return path


def report(
    sweep: Sweep,
    *,
    out: str | Path | None = None,
    formats: Sequence[str] = FORMATS,
    show: bool = True,
    metric: str | None = None,
) -> int:
    """Write a sweep's table, print it, and report problems.

    Args:
        sweep: the collected sweep.
        out: folder for the files; by default the sweep's.
        formats: files to write; figures are drawn if the page or a picture is among them, and
            `csv` writes the table, `images.csv` and `differences.csv`.
        show: print the table.
        metric: metric to show instead of the table's own, and without its further tables.

    Returns:
        Exit status: 0 if every job has its row, every figure its rows, and no file next to a row
        is damaged or gone, else 1.

    Raises:
        TableError: the rows do not fit the table's config.
        PaperError: the paper prints several different numbers for a cell.
    """
    damage = damaged_files(sweep)
    problems = [*sweep.problems, *damage]
    if sweep.rows:
        config = remeasured(sweep.config, metric) if metric else sweep.config
        records = records_of(sweep)
        table = build(sweep.rows, config, records)
        others = further(sweep.rows, config, records)
        if "csv" in formats or "html" in formats:
            tests = differences(table, Scores(table.metric, records))
            table = replace(table, differences=tests)
        if show:
            from medrobust.report.render.terminal import show as print_table

            for one in (table, *others):
                print_table(one)
        folder = out or sweep.folder
        files = [kind for kind in formats if kind != "html"]
        paths = write(table, folder, files)
        for one in others:
            paths += write(one, folder, files, name=f"table_{one.metric}")
        if "csv" in formats:
            images = write_images(sweep, folder)
            paths += [] if images is None else [images]
            tests_file = write_differences(table, folder)
            paths += [] if tests_file is None else [tests_file]
        if {"html", *PICTURES} & set(formats):
            from medrobust.report.figure.core.draw import FOLDER, draw

            drawn, undrawn = draw(sweep)
            problems += undrawn
            paths += [path for one in drawn for path in one.write(Path(folder) / FOLDER)]
            if "html" in formats:
                paths.append(
                    write_page(replace(sweep, problems=tuple(problems)), table, folder, drawn)
                )
        for path in paths:
            print(f"wrote {path}")
    done = sum(row.status == "done" for row in sweep.rows)
    same = f", {sweep.shared} with the row of another job" if sweep.shared else ""
    print(
        f"{sweep.jobs} jobs: {done} rows done ({sweep.skipped} were there before){same}, "
        f"{len(sweep.problems)} failed or missing"
    )
    if not problems:
        return 0 if sweep.rows else _nothing(sweep)
    for problem in problems:
        print(f"✗ {problem}", file=sys.stderr)
    if not sweep.problems and not damage:
        return 1
    again = f": {sweep.command}" if sweep.command else ""
    what = "is failed or missing" if sweep.problems else "is damaged"
    print(f"The same command runs only what {what}{again}", file=sys.stderr)
    return 1


def damaged_files(sweep: Sweep) -> list[str]:
    """Return one line for each file next to a row of a sweep that is damaged or gone."""
    files = [
        picture.with_name(f"{row_id}.{ending}")
        for row_id, picture in sweep.pictures.items()
        for ending in READERS
    ]
    lacking = [
        line for row in sweep.rows for line in gone(RowStore(sweep.pictures[row.id].parent), row)
    ]
    return [*state(files).damage, *lacking]


def _nothing(sweep: Sweep) -> int:
    print(f"no job in {sweep.folder}: the sweep was empty", file=sys.stderr)
    return 1
