"""Commands `list`, `verify` and `prune`, which print and return the exit status."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from medrobust.cache.inventory import Item, References, items, references
from medrobust.cache.prune import damage, leftovers, prunable, remove
from medrobust.cache.tensors import TensorCache
from medrobust.code.package import package_digest
from medrobust.result.lock import LockedError, locked_now
from medrobust.result.row import CELL, Row, RowError
from medrobust.result.sidecar import all_paths, state
from medrobust.result.stale import stale
from medrobust.result.store import RowStore

_SHOWN = 4  # rows named per file


class NotDoneError(RuntimeError):
    """Raised when a command did nothing; the message names the reason and the fix."""


def list_(folder: Path, rows: Sequence[Path]) -> int:
    """Print the files of the cache, newest first."""
    known = _references(rows)
    found = items(_cache(folder), known)
    table = _table(f"{folder}: {_total(found)}")
    for item in found:
        maybe = known.silent and item.kind == "answers"
        nobody = "[dim]not known[/dim]" if maybe else "[dim]none[/dim]"
        table.add_row(*_cells(item), "\n".join(_names(item.rows)) or nobody)
    console = _console()
    console.print(table)
    _mention(known, console)
    _mention_stale(rows, console)
    return 0


def verify(folder: Path, rows: Sequence[Path]) -> int:
    """Verify the cache, rows and the files next to them; return 1 if any is damaged."""
    cache = _cache(folder)
    broken = {place: RowStore(place).damage() for place in rows}
    found = items(cache, _references(rows, broken))
    wrong = damage(cache, found)
    beside = [state(all_paths(RowStore(place))) for place in rows]
    spoilt = [message for found_here in beside for message in found_here.damage]
    console = _console()
    lost = [message for messages in broken.values() for message in messages.values()]
    for message in (*lost, *spoilt):
        _tell(console, f"✗ {message}")
    for item in found:
        if item.key in wrong:
            of = "; ".join(_names(item.rows)) or "none"
            _tell(console, f"✗ {wrong[item.key]}; rows: {of}")
    if wrong:
        console.print(
            f"{len(wrong)} of {len(found)} damaged. Rows stay valid; a cell that needs such a file "
            "makes it again, and `prune` removes it.",
            soft_wrap=True,
        )
    if lost:
        console.print(f"{len(lost)} damaged rows", soft_wrap=True)
    if spoilt:
        _tell(
            console,
            f"{len(spoilt)} damaged files next to rows. The rows stay valid; the command of a cell "
            "makes its file again.",
        )
    old = sum(len(found_here.unchecked) for found_here in beside)
    old += sum(_unchecked_rows(place, broken[place]) for place in rows)
    if old:
        _tell(
            console,
            f"{old} rows and files next to them were written without a checksum by an earlier "
            "version: they can be read, but damage would go unnoticed",
        )
    if wrong or lost or spoilt:
        return 1
    _tell(console, f"{folder}: {_total(found)}, every checksum matches")
    return 0


def prune(
    folder: Path, rows: Sequence[Path], *, older_than: float, referenced: bool, dry_run: bool
) -> int:
    """Remove files that are no longer needed, while no cell runs in this cache.

    Args:
        folder: folder of the cache.
        rows: all folders whose rows may refer to it.
        older_than: age in seconds; younger intact files are kept.
        referenced: also remove files that rows refer to.
        dry_run: only list the files.
    """
    cache = _cache(folder)
    try:
        with locked_now(cache.lock_path("in_use"), f"the cache {folder}"):
            known = _references(rows)
            gone = prunable(cache, known, older_than=older_than, referenced=referenced)
            rest = leftovers(folder)
            if not dry_run:
                remove(cache, gone)
                for path in rest:
                    path.unlink(missing_ok=True)
            kept = len(cache.keys()) - (len(gone) if dry_run else 0)
    except LockedError as error:
        raise NotDoneError(f"{error}; nothing was removed") from None
    table = _table("would be removed" if dry_run else "removed", last="why")
    for item, why in gone:
        table.add_row(*_cells(item), why)
    console = _console()
    if gone:
        console.print(table)
    verb = "would go" if dry_run else "removed"
    console.print(
        f"{verb}: {_total([item for item, _ in gone])}"
        f"{f', {len(rest)} half-written files' if rest else ''}; kept: {kept}",
        soft_wrap=True,
    )
    if not referenced:
        _mention(known, console)
    return 0


def _mention(known: References, console: Console) -> None:
    if known.silent:
        console.print(
            f"{known.silent} rows of an earlier version do not name their answers, so prune keeps "
            "all answers; run those cells with rerun=true to change that",
            soft_wrap=True,
        )


def _mention_stale(folders: Sequence[Path], console: Console) -> None:
    """List the rows that were made by other code than today's."""
    today = package_digest()
    found = [row for folder in folders for row in RowStore(folder).rows() if stale(row, today)]
    if not found:
        return
    table = Table(
        title=f"rows by other code: {len(found)}; rerun=stale renews them", title_justify="left"
    )
    for heading in ("row", "cell", "revision", "computed"):
        table.add_column(heading, no_wrap=heading == "row")
    for row in found:
        places = (row.cell.get(part, "") for part in CELL)
        cell = " ".join(place for place in places if place)
        table.add_row(row.id[:16], cell, row.revision, row.created)
    console.print(table)


def _cache(folder: Path) -> TensorCache:
    if not folder.is_dir():
        raise NotDoneError(f"{folder} is no folder; name the cache with --cache DIR")
    return TensorCache(folder)


def _unchecked_rows(folder: Path, broken: Collection[str]) -> int:
    store = RowStore(folder)
    found = store.rows(row_id for row_id in store.ids() if row_id not in broken)
    return sum(any(flag.code == "unchecked" for flag in row.flags) for row in found)


def _tell(console: Console, message: str) -> None:
    """Print a message literally, since file names may look like markup."""
    console.print(message, soft_wrap=True, highlight=False, markup=False)


def _references(
    rows: Sequence[Path], damaged: Mapping[Path, Collection[str]] | None = None
) -> References:
    try:
        return references(rows, damaged)
    except (FileNotFoundError, RowError) as error:
        raise NotDoneError(str(error)) from None


def _console() -> Console:
    console = Console()
    # A pipe has no width; keys must not be truncated in it.
    return console if console.is_terminal else Console(width=120)


def _table(title: str, last: str = "rows") -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("key", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("age", justify="right", no_wrap=True)
    table.add_column(last)
    return table


def _cells(item: Item) -> tuple[str, str, str, str]:
    return item.key[:16], item.kind, decimal(item.size), _age(item.seconds)


def _names(rows: Sequence[Row]) -> list[str]:
    names = [
        " ".join(
            [row.id[:8], *(row.cell.get(part, "?") for part in ("attack", "threat", "defense"))]
        )
        for row in rows[:_SHOWN]
    ]
    return names + ([f"and {len(rows) - _SHOWN} more"] if len(rows) > _SHOWN else [])


def _age(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _total(found: Sequence[Item]) -> str:
    return f"{len(found)} files, {decimal(sum(item.size for item in found))}"
