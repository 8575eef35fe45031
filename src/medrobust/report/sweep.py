"""Contents of a sweep folder: the plan, the jobs' cells, and their rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medrobust.report.failure import reason
from medrobust.report.figure.core.base import Figure
from medrobust.report.table.config import TableConfig
from medrobust.result.arrays import ArraysError
from medrobust.result.per_image import PerImage
from medrobust.result.row import Row, RowError
from medrobust.result.sealed import SealError, read_note, write_note
from medrobust.result.store import RowStore

PLAN, MARK = "sweep.json", "cell.json"
_CHOICES = ("attack", "defense", "threat")
"""Keys of `Row.cell` whose values are config choices of the command line."""


class SweepError(ValueError):
    """Raised when a folder is not a sweep, or its plan cannot be read."""


@dataclass(frozen=True)
class Plan:
    """Plan of a sweep, written before its first job.

    Attributes:
        table: plain data of the `table` node.
        jobs: each job's overrides, or None if the sweeper chooses jobs while running.
        command: command line that runs failed and missing cells.
        figure: plain data of the `figure` node.
    """

    table: dict[str, Any]
    jobs: list[list[str]] | None
    command: str
    figure: Any = None

    def write(self, folder: Path) -> None:
        """Save the plan as `sweep.json` in the sweep folder."""
        write_note(folder / PLAN, asdict(self))


@dataclass(frozen=True)
class Sweep:
    """Results of a sweep.

    Attributes:
        folder: the sweep's folder.
        rows: rows in the order of the jobs, each once, including failed ones.
        config: config of the table.
        problems: one line per job that failed or wrote no row.
        command: command line that runs those jobs again; empty if unknown.
        jobs: number of jobs planned or found.
        skipped: number of jobs whose row already existed.
        shared: number of jobs that share the row of an earlier job.
        pictures: row id -> path of its image strips, if it has any.
        figures: figures to draw from the rows.
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
    shared: int = 0


def records_of(sweep: Sweep) -> Callable[[Row], PerImage | None]:
    """Return a function that reads the record of a row's images; None if absent or damaged."""

    def read(row: Row) -> PerImage | None:
        path = sweep.pictures.get(row.id)
        try:
            return PerImage.read(path.with_name(f"{row.id}.images.npz")) if path else None
        except ArraysError:
            return None  # reported by `damaged_files`

    return read


def collect(folder: str | Path, rows_folder: str | Path | None = None) -> Sweep:
    """Read a sweep folder, finished or killed.

    Args:
        folder: the sweep folder that Hydra created.
        rows_folder: folder of the rows; by default the one that each job noted.

    Raises:
        SweepError: no such folder, no job in it, or a damaged plan without a job to replace it.
        TableError: the table's config is wrong.
        FigureError: a figure's config is wrong.
    """
    from medrobust.report.figure.core.kinds import parse

    folder = Path(folder)
    if not folder.is_dir():
        raise SweepError(f"{folder} is no folder; name the one that `evaluate -m` wrote")
    inside = sorted(path.parent.name for path in folder.glob(f"*/{PLAN}"))
    if inside and not (folder / PLAN).exists():
        raise SweepError(f"{folder} holds several sweeps, expected one; name one of {inside[-5:]}")
    plan, damage = read_plan(folder)
    marks = {_number(folder, path.parent): path for path in folder.rglob(MARK)}
    started = {_number(folder, path.parent): path for path in folder.rglob(".hydra")}
    planned = [str(number) for number in range(len(plan.jobs))] if plan.jobs is not None else []
    numbers = sorted({*marks, *(planned if plan.jobs is not None else started)}, key=_order)
    rows: dict[str, Row] = {}
    problems = [damage] if damage else []
    pictures: dict[str, Path] = {}
    skipped = shared = 0
    for number in numbers:
        name = _name(number, plan, started.get(number))
        if number not in marks:
            state = "was killed before its end" if number in started else "did not start"
            problems.append(f"{name} {state}")
            continue
        try:
            own = _own_overrides(started.get(number))
            mark = _mark(marks[number], own)
            skipped += mark["status"] == "skipped"
            store = RowStore(rows_folder or mark["rows"])
            row = store.get(mark["row"])
            if row is not None:
                _check_row(row, marks[number], own or _planned(number, plan))
        except (RowError, SweepError) as error:
            problems.append(f"{name}: {error}")
            continue
        if row is None:
            where = store.path(mark["row"])
            problems.append(f"{name}: its row {where} is gone (another place: --rows FOLDER)")
            continue
        if row.id in rows:
            shared += 1
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
        shared=shared,
        pictures=pictures,
        figures=parse(plan.figure),
    )


def forget(folder: Path) -> None:
    """Remove the marks of an earlier sweep in the same folder, but not its rows."""
    for path in folder.rglob(MARK):
        path.unlink()


def read_plan(folder: Path) -> tuple[Plan, str]:
    """Return the plan and a message about its damage; then the plan comes from a job's config."""
    path = folder / PLAN
    damage = ""
    if path.exists():
        try:
            return _checked_plan(read_note(path)), ""
        except (OSError, SealError) as error:
            damage = f"{path} is damaged ({error})"
    configs = sorted(folder.rglob(".hydra/config.yaml"), key=lambda path: _order(str(path)))
    for config in configs:
        try:
            table, figure = _nodes(config)
        except SweepError as error:
            damage = damage or str(error)
            continue
        if damage:
            damage += f"; table and figures are those of {config}"
        return Plan(table, None, "", figure), damage
    raise SweepError(damage or f"{folder} holds neither {PLAN} nor any job's .hydra/config.yaml")


def _checked_plan(note: Mapping[str, Any]) -> Plan:
    if not {"table", "jobs", "command"} <= set(note) <= {"table", "jobs", "command", "figure"}:
        raise SealError(f"its keys are {sorted(note)}, expected table, jobs, command and figure")
    jobs = note["jobs"]
    if not (
        isinstance(note["table"], dict)
        and isinstance(note["command"], str)
        and (jobs is None or (isinstance(jobs, list) and all(map(_texts, jobs))))
    ):
        raise SealError("its table is no mapping, its command no text, or a job no list of text")
    return Plan(**note)


def _nodes(path: Path) -> tuple[dict[str, Any], Any]:
    """Return the `table` and `figure` nodes of a job's config without resolving them.

    A received config could read the environment through `${oc.env:…}`.
    """
    config = _yaml(path)
    if not isinstance(config, dict):
        raise SweepError(f"{path} holds {config!r}, expected a mapping")
    table = config.get("table") or {}
    if not isinstance(table, dict):
        raise SweepError(f"{path}: `table` is {table!r}, expected a mapping")
    return {str(key): value for key, value in table.items()}, config.get("figure")


def _yaml(path: Path) -> Any:
    from omegaconf import OmegaConf

    try:
        return OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception as error:  # errors of YAML, OmegaConf and files share no class
        raise SweepError(f"{path} is damaged ({' '.join(str(error).split())})") from None


def _mark(path: Path, overrides: Sequence[str]) -> Mapping[str, Any]:
    """Return a job's note about its row.

    Raises:
        SweepError: the note cannot be read, or belongs to another job.
    """
    try:
        mark = read_note(path)
    except (OSError, SealError) as error:
        raise SweepError(f"{path} is damaged ({error})") from None
    if not all(isinstance(mark.get(key), str) for key in ("row", "status", "rows")):
        raise SweepError(f"{path} lacks row, status or rows")
    if overrides and mark.get("overrides") and mark["overrides"] != overrides:
        raise SweepError(
            f"{path} is that of another job, {mark['overrides']}; run the same command again"
        )
    return mark


def _check_row(row: Row, path: Path, overrides: Sequence[str]) -> None:
    """Raise `SweepError` when a job's note names the row of another job."""
    for text in overrides:
        axis, _, choice = text.partition("=")
        found = row.cell.get(axis)
        if axis in _CHOICES and found is not None and found != choice.strip("'\""):
            raise SweepError(
                f"{path} names row {row.id} of {axis}={found}, but the job is of {text}; run the "
                "same command again"
            )


def _own_overrides(hydra: Path | None) -> list[str]:
    """Return the overrides in a job's own folder, or an empty list if unknown."""
    if hydra is None:
        return []
    try:
        found = _yaml(hydra / "overrides.yaml")
    except SweepError:
        return []
    return found if _texts(found) else []


def _planned(number: str, plan: Plan) -> list[str]:
    """Return a job's planned overrides, or an empty list if unknown."""
    if plan.jobs is None or not number.isdecimal() or int(number) >= len(plan.jobs):
        return []
    return plan.jobs[int(number)]


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _number(folder: Path, job: Path) -> str:
    """Return the job number of a folder: the last number in its path, else the path."""
    parts = job.relative_to(folder).parts
    return next((part for part in reversed(parts) if part.isdecimal()), "/".join(parts))


def _order(number: str) -> tuple[int, str]:
    return (int(number), "") if number.isdecimal() else (1 << 62, number)


def _name(number: str, plan: Plan, hydra: Path | None) -> str:
    """Return a job's name such as `job 4 (attack=bim)`, with the overrides that identify it."""
    overrides = _planned(number, plan)
    if plan.jobs is not None and len(plan.jobs) > 1:
        same = set.intersection(*map(set, plan.jobs))
        overrides = [text for text in overrides if text not in same]
    elif not overrides:
        overrides = _own_overrides(hydra)
    return f"job {number}" + (f" ({' '.join(overrides)})" if overrides else "")
