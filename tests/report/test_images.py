"""One CSV of a sweep with a line for every image of every cell."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import medrobust
from medrobust.cli.report import main
from medrobust.report import images
from medrobust.report.page.member import members
from medrobust.report.sweep import collect
from medrobust.result.arrays import ArraysError
from medrobust.result.per_image import PerImage
from medrobust.result.row import CELL
from medrobust.result.store import RowStore
from tests.report.conftest import MakeRow

Folder = Callable[..., Path]
TABLE = {"title": "A table", "rows": ["defense"], "columns": ["attack"]}
IDS = ("=2+2", "ward/1")


def record(**columns: list[float]) -> PerImage:
    return PerImage(IDS, {name: np.array(values) for name, values in columns.items()})


@pytest.fixture
def folder(row: MakeRow, sweep_folder: Folder, tmp_path: Path) -> Path:
    rows = [row(0.5), row(0.4, attack="=cmd"), row(0.3, attack="bim"), row(None, attack="fgsm")]
    made = sweep_folder(rows, TABLE)
    store = RowStore(tmp_path / "rows")
    record(dice=[0.25, 1.0], correct=[0.5, 1.0]).write(store.per_image(rows[0].id))
    ensemble = record(label=[3, 1], log_odds=[-2.5, 0.1], member=[-1, 1])
    PerImage(IDS, ensemble.columns, ("pgd", "-fab")).write(store.per_image(rows[1].id))
    return made


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_it_has_every_image_of_every_cell(folder: Path) -> None:
    assert main([str(folder), "--format", "csv"]) == 1  # the failed cell
    found = lines(folder / "images.csv")
    assert list(found[0]) == [
        *("row_id", *CELL, "image"),
        *("label", "correct", "log_odds", "member", "member_name", "dice"),
    ]
    first, second = (row.id for row in collect(folder).rows[:2])
    assert [line["row_id"] for line in found] == [first, first, second, second]
    assert [line["image"] for line in found] == ["'=2+2", "ward/1"] * 2
    assert [line["attack"] for line in found] == ["pgd", "pgd", "'=cmd", "'=cmd"]
    assert [line["correct"] for line in found] == ["0.5", "1.0", "", ""]
    assert [line["log_odds"] for line in found] == ["", "", "-2.5", "0.1"]
    assert [line["member"] for line in found] == ["", "", "-1", "1"]
    assert [line["member_name"] for line in found] == ["", "", "", "'-fab"]


def test_the_same_rows_give_the_same_bytes_and_a_failure_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main([str(folder), "--format", "csv"])
    whole = (folder / "images.csv").read_bytes()
    main([str(folder), "--format", "csv", "--out", str(tmp_path / "again")])
    assert (tmp_path / "again/images.csv").read_bytes() == whole

    def broken(*_: object) -> None:
        raise RuntimeError("no line")

    monkeypatch.setattr(images, "_lines", broken)
    with pytest.raises(RuntimeError, match="no line"):
        images.write_images(collect(folder), tmp_path / "third")
    with pytest.raises(RuntimeError, match="no line"):
        images.write_images(collect(folder), folder)
    assert list((tmp_path / "third").iterdir()) == []
    assert (folder / "images.csv").read_bytes() == whole
    assert not list(folder.glob(".images*"))


def test_a_damaged_record_is_told_and_left_out(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = collect(folder).rows[0].id
    path = RowStore(tmp_path / "rows").per_image(first)
    path.write_bytes(path.read_bytes()[:60])
    assert main([str(folder), "--format", "csv"]) == 1
    assert f"{path} is damaged" in capsys.readouterr().err
    assert {line["row_id"] for line in lines(folder / "images.csv")} == {collect(folder).rows[1].id}
    with pytest.raises(ArraysError, match="is damaged"):
        medrobust.load_images(tmp_path / "rows")


def test_without_a_record_there_is_no_file(row: MakeRow, sweep_folder: Folder) -> None:
    folder = sweep_folder([row(0.5)], TABLE)
    assert main([str(folder)]) == 0
    assert not (folder / "images.csv").exists()


def test_records_are_loaded_as_a_frame(folder: Path, tmp_path: Path) -> None:
    rows = collect(folder).rows
    frame = medrobust.load_images(tmp_path / "rows")
    assert len(frame) == 4
    assert frame.loc[(rows[0].id, "ward/1"), "dice"] == 1
    assert frame.loc[(rows[1].id, "ward/1"), "member_name"] == "-fab"
    assert frame.groupby("id").correct.mean()[rows[0].id] == 0.75
    only = medrobust.load_images(tmp_path / "rows", [rows[1].id])
    assert set(only.columns) == {"label", "log_odds", "member", "member_name"}
    joined = only.join(medrobust.load_rows(tmp_path / "rows")[["defense"]], on="id")
    assert list(joined.defense) == ["none", "none"]
    with pytest.raises(FileNotFoundError, match="is no folder"):
        medrobust.load_images(tmp_path / "absent")


def test_the_page_counts_the_images_of_each_member(folder: Path) -> None:
    sweep = collect(folder)
    assert members(sweep) == {sweep.rows[1].id: "-fab 1, not fooled 1"}
    main([str(folder), "--format", "html"])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("images by member") == 1
    assert "<dd>-fab 1, not fooled 1</dd>" in page
