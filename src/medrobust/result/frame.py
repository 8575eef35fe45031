"""Rows as a table of pandas."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrobust.result.row import CELL
from medrobust.result.store import RowStore

if TYPE_CHECKING:
    from pandas import DataFrame


def load_rows(folder: str | Path = "outputs/rows") -> "DataFrame":
    """Load the rows of a folder, one line each.

        >>> frame = medrobust.load_rows("outputs/rows")
        >>> frame.pivot_table(index="defense", columns="attack", values="accuracy")

    Args:
        folder: folder of rows that `medrobust evaluate` wrote.

    Returns:
        The index is the row's id. Columns: data, model, objective, threat, surrogate, attack and
        defense; status, n, seed, phantom, flags (texts, separated by "; ") and created; every
        metric by its name, and `<metric>_low` and `<metric>_high`, its 95 % interval.

    Raises:
        FileNotFoundError: there is no such folder, or no row in it.
        RowError: a row is damaged.
    """
    from pandas import DataFrame, Index

    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder, expected one of rows such as outputs/rows")
    lines: list[dict[str, Any]] = []
    rows = RowStore(path).rows()
    if not rows:
        raise FileNotFoundError(
            f"{path} holds no row (<id>.json), expected those of finished cells; name the folder "
            "outputs/rows of a run, or make some with: medrobust evaluate"
        )
    for row in rows:
        line: dict[str, Any] = {name: row.cell.get(name, "") for name in CELL}
        line |= {name: getattr(row, name) for name in ("status", "n", "seed", "phantom", "created")}
        line["flags"] = "; ".join(flag.text for flag in row.flags)
        line |= row.metrics
        for name, (low, high) in row.intervals.items():
            line |= {f"{name}_low": low, f"{name}_high": high}
        lines.append(line)
    return DataFrame(lines, index=Index([row.id for row in rows], name="id"))
