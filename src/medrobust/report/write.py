"""A table into files, and a sweep's whole report."""

import importlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medrobust.report.sweep import Sweep
from medrobust.report.table.pivot import build, remeasured
from medrobust.report.table.table import Table
from medrobust.result.beside import READERS, state
from medrobust.result.store import write_atomically

if TYPE_CHECKING:
    from medrobust.report.figure.core.draw import Drawn

_MODULES = {"csv": "tidy", "md": "markdown", "tex": "latex", "png": "heatmap"}

TABLES = tuple(_MODULES)
"""File formats of a table, which becomes `table.<format>`."""

FORMATS = (*TABLES, "html")
"""Formats of a sweep's report: those of its table, and the page `report.html`."""


def write(table: Table, folder: str | Path, formats: Sequence[str] = TABLES) -> list[Path]:
    """Write a table, each file whole or not at all.

    Args:
        table: the table.
        folder: made when absent.
        formats: from `TABLES`.

    Returns:
        The files. The same table gives the same bytes.

    Raises:
        ValueError: an unknown format.
    """
    check_formats(formats, TABLES)
    paths = []
    for kind in formats:
        # Loaded when used: drawing takes a second to import.
        module = importlib.import_module(f"medrobust.report.render.{_MODULES[kind]}")
        content: str | bytes = module.render(table)
        paths.append(Path(folder) / f"table.{kind}")
        write_atomically(paths[-1], content.encode() if isinstance(content, str) else content)
    return paths


def check_formats(formats: Sequence[str], known: Sequence[str] = FORMATS) -> None:
    """Raise ValueError when a format is not one of those known."""
    odd = [kind for kind in formats if kind not in known]
    if odd:
        raise ValueError(f"formats {odd} are unknown; choose from {', '.join(known)}")


def write_page(
    sweep: Sweep, table: Table, folder: str | Path, drawn: "Sequence[Drawn]" = ()
) -> Path:
    """Write the sweep's page, whole or not at all.

    Args:
        sweep: what was collected.
        table: what was made of its rows.
        folder: made when absent.
        drawn: the sweep's figures.

    Returns:
        The file `report.html`.
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
    """Write a sweep's table, print it, and say what is wrong.

    Args:
        sweep: what was collected.
        out: folder for the files; default the sweep's.
        formats: files to write; figures are drawn when the page is among them, or any picture.
        show: print the table.
        metric: instead of the table's own.

    Returns:
        Exit status: 0 when every job has its row, every figure its rows, and no file beside a row
        is damaged, else 1.

    Raises:
        TableError: the rows do not fit the table's config.
        PaperError: the paper prints several different numbers for a cell.
    """
    damage = damaged_files(sweep)
    problems = [*sweep.problems, *damage]
    if sweep.rows:
        config = remeasured(sweep.config, metric) if metric else sweep.config
        table = build(sweep.rows, config)
        if show:
            from medrobust.report.render.terminal import show as print_table

            print_table(table)
        folder = out or sweep.folder
        paths = write(table, folder, [kind for kind in formats if kind != "html"])
        if "html" in formats or "png" in formats:
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
    """Return one line for each damaged file beside a row of a sweep; all else is shown."""
    files = [
        picture.with_name(f"{row_id}.{ending}")
        for row_id, picture in sweep.pictures.items()
        for ending in READERS
    ]
    return list(state(files).damage)


def _nothing(sweep: Sweep) -> int:
    print(f"no job in {sweep.folder}: the sweep was empty", file=sys.stderr)
    return 1
