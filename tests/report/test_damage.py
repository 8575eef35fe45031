"""One damaged file of a sweep costs that file: it is told, and everything else is shown."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medrobust.cli.report import main
from medrobust.report.sweep import collect
from medrobust.result.row import Row
from medrobust.result.scores import Scores
from medrobust.result.sealed import write_note
from tests.report.conftest import MakeRow
from tests.report.page_reader import read
from tests.result.test_sidecar import bomb, png

Folder = Callable[..., Path]
TABLE = {"title": "A table", "rows": ["defense"], "columns": ["attack"]}


def with_figure(folder: Path, figure: dict[str, str]) -> None:
    plan = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps(plan | {"figure": figure}))


@pytest.mark.parametrize("damage", [b"no archive", None])
def test_a_damaged_file_of_scores_costs_its_line_of_a_figure(
    damage: bytes | None,
    row: MakeRow,
    sweep_folder: Folder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [row(0.5, defense="kd"), row(0.4, defense="lid")]
    folder = sweep_folder(rows, TABLE)
    with_figure(folder, {"kind": "roc"})
    for item in rows:
        right = np.array([True, True, False])
        scores = Scores(np.arange(3.0), np.arange(3.0) + 1, right, right, 1.5, True)
        scores.write(tmp_path / "rows" / f"{item.id}.scores.npz")
    bad = tmp_path / "rows" / f"{rows[0].id}.scores.npz"
    if damage is None:
        np.savez(bad, kind=np.array("scores 1"), clean=np.arange(3.0))  # lacks arrays
    else:
        bad.write_bytes(damage)
    assert main([str(folder)]) == 1
    printed = capsys.readouterr()
    assert f"✗ {bad}" in printed.err
    assert "2 rows done" in printed.out
    assert "The same command runs only what is damaged" in printed.err
    page = (folder / "report.html").read_text()
    assert page.count('<figure class="drawn">') == 1
    assert bad.name in page
    assert "50.0" in page
    assert "40.0" in page


@pytest.mark.parametrize("damage", [bomb(), png()[:40]])
def test_a_bad_picture_costs_itself(
    damage: bytes,
    row: MakeRow,
    sweep_folder: Folder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [row(0.5), row(0.4, defense="jpeg")]
    folder = sweep_folder(rows, TABLE)
    for item, content in zip(rows, (damage, png()), strict=True):
        (tmp_path / "rows" / f"{item.id}.png").write_bytes(content)
    assert main([str(folder), "--format", "html"]) == 1
    assert f"✗ {tmp_path / 'rows' / rows[0].id}.png is damaged" in capsys.readouterr().err
    page = read((folder / "report.html").read_text())
    assert len(page.find("img")) == 1
    assert f"{rows[0].id}.png is damaged" in page.text


@pytest.mark.parametrize("name", ["cost $_", "a$ \\frac $b", "cost $5 to $6_{"])
def test_a_dollar_sign_in_a_label_is_a_dollar_sign(
    name: str, row: MakeRow, sweep_folder: Folder
) -> None:
    rows = [
        row(0.5, attack=name, defense=name, confusion=[[3, 1], [1, 3]], classes=[name, f"{name}2"]),
        row(0.4, attack=name, defense="jpeg"),
    ]
    folder = sweep_folder(rows, {"title": name, "rows": ["data"], "columns": ["attack", "defense"]})
    with_figure(folder, {"kind": "confusion"})
    assert main([str(folder)]) == 0
    assert (folder / "table.png").stat().st_size > 0
    assert (folder / "figures" / "confusion.png").stat().st_size > 0


def test_a_mark_that_names_another_jobs_row_is_told(row: MakeRow, sweep_folder: Folder) -> None:
    rows = [row(0.5), row(0.4, attack="bim"), row(0.3, attack="fgsm")]
    folder = sweep_folder(rows, TABLE)
    mark = json.loads((folder / "1" / "cell.json").read_text())
    other = json.loads((folder / "0" / "cell.json").read_text())
    (folder / "1" / "cell.json").write_text(json.dumps(mark | {"row": other["row"]}))
    sweep = collect(folder)
    assert len(sweep.rows) == 2
    assert (
        f"names row {rows[0].id} of attack=pgd, but the job is of attack=bim" in sweep.problems[0]
    )

    write_note(folder / "1" / "cell.json", mark | {"overrides": ["attack=bim"]})
    assert collect(folder).problems == ()
    text = (folder / "1" / "cell.json").read_text()
    (folder / "1" / "cell.json").write_text(text.replace(mark["row"], other["row"]))
    (problem,) = collect(folder).problems
    assert "cell.json is damaged (its checksum does not match)" in problem

    # That of another job, whole.
    write_note(folder / "1" / "cell.json", other | {"overrides": ["attack=pgd"]})
    (problem,) = collect(folder).problems
    assert "cell.json is that of another job, ['attack=pgd']" in problem


def test_jobs_that_share_a_row_are_counted(
    row: MakeRow, sweep_folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(sweep_folder([row(0.5), row(0.5)], TABLE)), "--format", "csv"]) == 0
    assert "2 jobs: 1 rows done" in (said := capsys.readouterr().out)
    assert "1 with the row of another job" in said


@pytest.mark.parametrize(
    "mark", [{"row": 3, "status": "done", "rows": "x"}, {"row": "a", "status": "done", "rows": 5}]
)
def test_a_mark_of_other_types_is_told(
    mark: dict[str, object], row: MakeRow, sweep_folder: Folder
) -> None:
    folder = sweep_folder([row(0.5), row(0.4, attack="bim")], TABLE)
    (folder / "0" / "cell.json").write_text(json.dumps(mark))
    sweep = collect(folder)
    assert len(sweep.rows) == 1
    assert "lacks row, status or rows" in sweep.problems[0]


@pytest.mark.parametrize("content", ["[" * 100_000, '{"format": []}', "1" * 5000, None])
def test_a_row_that_cannot_be_read_costs_itself(
    content: str | None, row: MakeRow, sweep_folder: Folder, tmp_path: Path
) -> None:
    rows = [row(0.5), row(0.4, attack="bim")]
    folder = sweep_folder(rows, TABLE)
    path = tmp_path / "rows" / f"{rows[0].id}.json"
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    sweep = collect(folder)
    assert [item.id for item in sweep.rows] == [rows[1].id]
    assert str(path) in sweep.problems[0]


@pytest.mark.parametrize("damage", ["{", '{"table": 3, "jobs": 4, "command": 5}', "\udcff"])
def test_a_damaged_plan_costs_the_plan(
    damage: str, row: MakeRow, sweep_folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep_folder([row(0.5), row(0.4, attack="bim")], TABLE)
    (folder / "sweep.json").write_text(damage, errors="surrogateescape")
    (folder / "0" / ".hydra" / "overrides.yaml").write_bytes(b"\xff")
    (folder / "0" / ".hydra" / "config.yaml").write_text("table: [")
    assert main([str(folder), "--format", "md"]) == 1
    assert "sweep.json is damaged" in capsys.readouterr().err
    assert "A table" in (folder / "table.md").read_text()
    assert "40.0" in (folder / "table.md").read_text()


def test_a_report_resolves_nothing(
    row: MakeRow, sweep_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "the secret")
    table = {**TABLE, "title": "${oc.env:A_KEY}"}
    folder = sweep_folder([row(0.5)], table)
    config = {"table": table, "figure": {"kind": "confusion", "title": "${oc.env:A_KEY}"}}
    (folder / "0" / ".hydra" / "config.yaml").write_text(json.dumps(config))
    (folder / "sweep.json").unlink()
    main([str(folder)])
    for path in folder.glob("*.*"):
        assert b"the secret" not in path.read_bytes()
    assert "${oc.env:A_KEY}" in (folder / "report.html").read_text()
    assert collect(folder).figures[0].title == "${oc.env:A_KEY}"


def test_names_of_figures_name_no_folder(
    row: MakeRow, sweep_folder: Folder, tmp_path: Path
) -> None:
    folder = sweep_folder([row(0.5, confusion=[[1]], classes=["a"])], TABLE)
    with_figure(folder, {"kind": "confusion", "name": "../../outside"})
    assert main([str(folder)]) == 0
    assert not list(tmp_path.glob("outside*"))
    assert (folder / "figures" / "_.._outside.png").exists()


def test_a_row_without_a_checksum_is_flagged(
    row: MakeRow, sweep_folder: Folder, tmp_path: Path
) -> None:
    found: Row = row(0.5)
    folder = sweep_folder([found], TABLE)
    path = tmp_path / "rows" / f"{found.id}.json"
    data = json.loads(path.read_text())
    del data["checksum"], data["code"], data["files"], data["groups"]
    path.write_text(json.dumps(data | {"format": 2}))
    assert main([str(folder), "--format", "html"]) == 0
    page = read((folder / "report.html").read_text()).text
    assert "Read from a file without a checksum (format 2); rerun=true renews it" in page
    assert "a damaged digit in its file would go unnoticed" in page
    path.write_text(json.dumps(data | {"format": 2, "metrics": {"accuracy": "x"}}))
    assert "metrics.accuracy is 'x', expected float" in collect(folder).problems[0]
