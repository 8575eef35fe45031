"""What a sweep folder holds: the plan, the jobs' cells, and their rows."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrobust.report.config import TableConfig
from medrobust.report.failure import reason
from medrobust.report.figure.base import Figure
from medrobust.result.row import Row, RowError
from medrobust.result.store import RowStore, write_atomically

if TYPE_CHECKING:
    from omegaconf import DictConfig, ListConfig

PLAN, MARK = "sweep.json", "cell.json"


class SweepError(ValueError):
    """A folder that is no sweep, or whose plan cannot be read."""


@dataclass(frozen=True)
class Plan:
    """What a sweep set out to do, written before its first job.

    Attributes:
        table: plain data of the `table` node.
        jobs: each job's overrides, or None when the sweeper decides as it goes.
        command: command line that runs what is failed or missing.
        figure: plain data of the `figure` node.
    """

    table: dict[str, Any]
    jobs: list[list[str]] | None
    command: str
    figure: Any = None

    def write(self, folder: Path) -> None:
        """Save it as `sweep.json` in the sweep folder."""
        write_atomically(folder / PLAN, json.dumps(asdict(self), indent=1).encode())


@dataclass(frozen=True)
class Sweep:
    """What became of a sweep.

    Attributes:
        folder: its folder.
        rows: rows in the order of the jobs, each once; failed ones too.
        config: the table to make of them.
        problems: one line per job that failed, or left no row.
        command: command line that runs those again, empty when not known.
        jobs: number of jobs planned, or found.
        skipped: jobs whose row was there already.
        pictures: row id -> where strips of its images lie, if it has any.
        figures: to draw from the rows.
    """

    folder: Path
    rows: tuple[Row, ...]
    config: TableConfig
    problems: tuple[str, ...]
    command: str
    jobs: int
    skipped: int
    pictures: Mapping[str, Path]
    figures: tuple[Figure, ...] = ()


def collect(folder: str | Path, rows_folder: str | Path | None = None) -> Sweep:
    """Read a sweep folder, finished or killed.

    Args:
        folder: the sweep folder, as Hydra made it.
        rows_folder: where the rows lie; default what each job says.

    Raises:
        SweepError: no such folder, no job in it, or a damaged plan.
        TableError: the table's config is wrong.
        FigureError: a figure's config is wrong.
    """
    from medrobust.report.figure.draw import parse

    folder = Path(folder)
    if not folder.is_dir():
        raise SweepError(f"{folder} is no folder; name the one that evaluate.py -m wrote")
    plan = _plan(folder)
    marks = {_number(folder, path.parent): path for path in folder.rglob(MARK)}
    started = {_number(folder, path.parent): path for path in folder.rglob(".hydra")}
    planned = [str(number) for number in range(len(plan.jobs))] if plan.jobs is not None else []
    numbers = sorted({*marks, *(planned if plan.jobs is not None else started)}, key=_order)
    rows: dict[str, Row] = {}
    problems: list[str] = []
    pictures: dict[str, Path] = {}
    skipped = 0
    for number in numbers:
        name = _name(number, plan, started.get(number))
        if number not in marks:
            state = "was killed before its end" if number in started else "did not start"
            problems.append(f"{name} {state}")
            continue
        try:
            mark = _mark(marks[number])
            skipped += mark["status"] == "skipped"
            store = RowStore(rows_folder or mark["rows"])
            row = store.get(mark["row"])
        except (RowError, SweepError) as error:
            problems.append(f"{name}: {error}")
            continue
        if row is None:
            where = store.path(mark["row"])
            problems.append(f"{name}: its row {where} is gone (another place: --rows FOLDER)")
            continue
        rows[row.id] = row
        pictures[row.id] = store.picture(row.id)
        if row.status != "done":
            where = store.path(row.id)
            problems.append(f"{name} failed: {reason(row.error)} (traceback: `error` in {where})")
    config = TableConfig.parse(plan.table)
    return Sweep(
        folder=folder,
        rows=tuple(rows.values()),
        config=config,
        problems=tuple(problems),
        command=plan.command,
        jobs=len(numbers),
        skipped=skipped,
        pictures=pictures,
        figures=parse(plan.figure),
    )


def forget(folder: Path) -> None:
    """Remove the marks of an earlier sweep in the same folder; rows stay."""
    for path in folder.rglob(MARK):
        path.unlink()


def _plan(folder: Path) -> Plan:
    path = folder / PLAN
    if path.exists():
        try:
            return Plan(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise SweepError(f"{path} is damaged ({error}); delete it to do without") from None
    configs = sorted(folder.rglob(".hydra/config.yaml"), key=lambda path: _order(str(path)))
    if not configs:
        raise SweepError(f"{folder} holds neither {PLAN} nor any job's .hydra/config.yaml")
    from omegaconf import OmegaConf

    config = OmegaConf.load(configs[0])
    table = OmegaConf.select(config, "table")
    plain = OmegaConf.to_container(table, resolve=True) if table is not None else {}
    if not isinstance(plain, dict):
        raise SweepError(f"{configs[0]}: `table` is {plain!r}, expected a mapping")
    return Plan({str(key): value for key, value in plain.items()}, None, "", plain_figure(config))


def plain_figure(config: "DictConfig | ListConfig") -> Any:
    """The `figure` node of a config as plain data, None when there is none."""
    from omegaconf import OmegaConf

    node = OmegaConf.select(config, "figure")
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def _mark(path: Path) -> Mapping[str, Any]:
    try:
        mark = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SweepError(f"{path} is damaged ({error})") from None
    if not isinstance(mark, dict) or not {"row", "status", "rows"} <= set(mark):
        raise SweepError(f"{path} lacks row, status or rows")
    return mark


def _number(folder: Path, job: Path) -> str:
    """Job number of a folder: the last number in its path, else the path."""
    parts = job.relative_to(folder).parts
    return next((part for part in reversed(parts) if part.isdecimal()), "/".join(parts))


def _order(number: str) -> tuple[int, str]:
    return (int(number), "") if number.isdecimal() else (1 << 62, number)


def _name(number: str, plan: Plan, hydra: Path | None) -> str:
    """`job 4 (attack=bim)`, with what tells the job from the others."""
    overrides: list[str] = []
    if plan.jobs is not None and number.isdecimal() and int(number) < len(plan.jobs):
        same = set.intersection(*map(set, plan.jobs)) if len(plan.jobs) > 1 else set()
        overrides = [text for text in plan.jobs[int(number)] if text not in same]
    elif hydra is not None and (hydra / "overrides.yaml").exists():
        lines = (hydra / "overrides.yaml").read_text(encoding="utf-8").splitlines()
        overrides = [line.removeprefix("- ") for line in lines if line != "[]"]
    return f"job {number}" + (f" ({' '.join(overrides)})" if overrides else "")
