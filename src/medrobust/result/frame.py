"""Rows and the records of their images as tables of pandas."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrobust.result.per_image import PerImage
from medrobust.result.row import CELL
from medrobust.result.store import RowStore

if TYPE_CHECKING:
    from pandas import DataFrame


def load_images(
    folder: str | Path = "outputs/rows", rows: Iterable[str] | None = None
) -> "DataFrame":
    """Load the records of the images of some rows, one line for every image of every cell.

        >>> images = medrobust.load_images("outputs/rows")
        >>> images.groupby("id").correct.mean()  # the accuracy of each row

    Args:
        folder: folder of rows that `medrobust evaluate` wrote.
        rows: ids of rows; None for all.

    Returns:
        The index is the row's `id` and the sample id, `image`. Columns are those of the records,
        see `PerImage`, NaN where they do not apply; `member_name` names the member of an ensemble
        attack. Rows of earlier versions, without a record, have no line.

    Raises:
        FileNotFoundError: there is no such folder.
        ArraysError: a record is damaged.
    """
    from pandas import DataFrame, MultiIndex, concat

    store = RowStore(_existing(folder))
    frames = []
    for row_id in store.ids() if rows is None else rows:
        record = PerImage.read(store.per_image(row_id))
        if record is None:
            continue
        columns: dict[str, Any] = dict(record.columns)
        if record.members and "member" in columns:
            names = (*record.members, None)  # -1, for none, is the last
            columns["member_name"] = [names[place] for place in columns["member"].tolist()]
        pairs = [(row_id, image) for image in record.ids]
        frames.append(DataFrame(columns, MultiIndex.from_tuples(pairs, names=["id", "image"])))
    return concat(frames) if frames else DataFrame()


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

    lines: list[dict[str, Any]] = []
    path = _existing(folder)
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


def _existing(folder: str | Path) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no folder, expected one of rows such as outputs/rows")
    return path
