import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medrobust.cli.report import main
from medrobust.report.sweep import SweepError, collect
from tests.report.conftest import MakeRow

Folder = Callable[..., Path]
TABLE = {"title": "A table", "rows": ["defense"], "columns": ["attack"]}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("table.*"))}


def test_rebuilding_gives_equal_bytes(
    row: MakeRow, sweep_folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(0.5), row(0.4, attack="bim"), row(0.3, defense="median")]
    folder = sweep_folder(rows, TABLE)
    assert main([str(folder)]) == 0
    first = files(folder)
    assert list(first) == [
        *("table.csv", "table.md", "table.pdf", "table.png", "table.svg", "table.tex")
    ]
    assert "A table" in capsys.readouterr().out
    assert main([str(folder), "--out", str(tmp_path / "again")]) == 0
    assert files(tmp_path / "again") == first
    (folder / "sweep.json").unlink()  # falls back to the jobs' configs
    assert main([str(folder), "--out", str(tmp_path / "third")]) == 0
    assert files(tmp_path / "third") == first


def test_formats(row: MakeRow, sweep_folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder = sweep_folder([row(0.5)], TABLE)
    assert main([str(folder), "--format", "rich"]) == 0
    assert "A table" in capsys.readouterr().out
    assert not files(folder)
    assert main([str(folder), "--format", "csv"]) == 0
    assert "A table" not in capsys.readouterr().out
    assert list(files(folder)) == ["table.csv"]


def test_another_metric_and_moved_rows(
    row: MakeRow, sweep_folder: Folder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep_folder([row(0.5)], TABLE)
    shutil.move(tmp_path / "rows", tmp_path / "moved")
    assert main([str(folder), "--format", "rich"]) == 1
    assert "is gone (another place: --rows FOLDER)" in capsys.readouterr().err
    arguments = [str(folder), "--rows", str(tmp_path / "moved"), "--metric", "balanced_accuracy"]
    assert main(arguments) == 0
    assert "balanced accuracy, %." in (folder / "table.md").read_text().replace("\\", "")
    assert "25.0" in (folder / "table.md").read_text()
    assert main([*arguments[:-1], "f1"]) == 2
    assert "no row has the metric 'f1'" in capsys.readouterr().err


def test_further_metrics_have_tables_of_their_own(
    row: MakeRow, sweep_folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(0.5), row(0.3, attack="bim")]
    also = ["balanced_accuracy", "accuracy_vote"]  # no row has the second
    folder = sweep_folder(rows, {**TABLE, "title": "Ours", "also": also})
    assert main([str(folder)]) == 0
    assert "Ours: balanced accuracy" in capsys.readouterr().out
    for name, values in (("table", [0.5, 0.3]), ("table_balanced_accuracy", [0.25, 0.15])):
        with (folder / f"{name}.csv").open(newline="") as file:
            lines = [line for line in csv.DictReader(file) if line["row_id"]]
        assert [float(line["value"]) for line in lines] == pytest.approx(values)
        assert (folder / f"{name}.png").stat().st_size
    assert {path.stem for path in folder.glob("*.md")} == {"table", "table_balanced_accuracy"}
    other = folder / "other"
    assert main([str(folder), "--metric", "balanced_accuracy", "--out", str(other)]) == 0
    assert {path.stem for path in other.glob("*.md")} == {"table"}


def test_killed_sweep(
    row: MakeRow, sweep_folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(0.5), row(None, attack="bim"), row(0.3, attack="fgsm")]
    folder = sweep_folder(rows, TABLE, killed=1)
    assert main([str(folder)]) == 1
    printed = capsys.readouterr()
    assert "3 jobs: 1 rows done (0 were there before), 2 failed or missing" in printed.out
    assert "✗ job 1 (attack=bim) failed: RuntimeError: CUDA out of memory" in printed.err
    assert "✗ job 2 (attack=fgsm) was killed before its end" in printed.err
    assert "only what is failed or missing: medrobust evaluate -m" in printed.err
    shutil.rmtree(folder / "2")
    assert "did not start" in collect(folder).problems[-1]


def test_jobs_are_in_numeric_order(row: MakeRow, sweep_folder: Folder) -> None:
    rows = [row(i / 20, attack=f"attack_{i}") for i in range(12)]
    assert [item.id for item in collect(sweep_folder(rows, TABLE)).rows] == [r.id for r in rows]


def test_a_row_shared_by_two_jobs_counts_once(row: MakeRow, sweep_folder: Folder) -> None:
    sweep = collect(sweep_folder([row(0.5), row(0.5)], TABLE))
    assert (sweep.jobs, len(sweep.rows), sweep.problems) == (2, 1, ())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("{", "is damaged"),
        ('{"row": "a"}', "lacks row, status or rows"),
        ("[]", "it holds a list, not a mapping"),
    ],
)
def test_damaged_marks(row: MakeRow, sweep_folder: Folder, damage: str, message: str) -> None:
    folder = sweep_folder([row(0.5)], TABLE)
    (folder / "0" / "cell.json").write_text(damage)
    (problem,) = collect(folder).problems
    assert message in problem


def test_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SweepError, match="is no folder"):
        collect(tmp_path / "absent")
    assert main([str(tmp_path)]) == 2
    assert "neither sweep.json nor any job's" in capsys.readouterr().err
    (tmp_path / "sweep.json").write_text("{}")
    assert main([str(tmp_path)]) == 2
    assert "sweep.json is damaged" in capsys.readouterr().err


def test_an_empty_sweep_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sweep.json").write_text('{"table": {}, "jobs": [], "command": ""}')
    assert main([str(tmp_path)]) == 1
    assert "the sweep was empty" in capsys.readouterr().err


def test_a_folder_of_sweeps_is_no_sweep(
    row: MakeRow, sweep_folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep_folder([row(0.5)], TABLE)
    assert main([str(folder.parent)]) == 2
    assert f"name one of ['{folder.name}']" in capsys.readouterr().err
    assert not list(folder.parent.glob("table.*"))
