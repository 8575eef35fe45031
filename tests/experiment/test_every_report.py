"""The rows that each experiment plans go through every file format, every figure and the page."""

import csv
import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import IO, Any

import pytest
from matplotlib.figure import Figure as Canvas

from medrobust.report.figure.core.draw import FOLDER
from medrobust.report.render import tidy
from medrobust.report.sweep import Sweep
from medrobust.report.table.block import blocks
from medrobust.report.table.pivot import build, further
from medrobust.report.write import FORMATS, report
from tests.experiment.made_up import gaps, rows, sweep
from tests.experiment.paper_cells import experiments
from tests.report.page_reader import read
from tests.support.kinds import one_of_each


def reported(made: Sweep) -> tuple[int, str]:
    """Exit status, and what was printed."""
    said = io.StringIO()
    with redirect_stdout(said):
        status = report(made)
    return status, said.getvalue()


def check(made: Sweep) -> None:
    """Every row stands in the data and on the page, in as many places as the table has."""
    with (made.folder / "table.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert {cell["row_id"] for cell in cells} - {""} == {row.id for row in made.rows}
    statuses = {cell["row_id"]: cell["status"] for cell in cells}
    assert all(statuses[row.id] == row.status for row in made.rows)
    page = read((made.folder / "report.html").read_text())
    (listing,) = (one for one in page.find("table") if one.attributes["class"] == "list sortable")
    (body,) = listing.find("tbody")
    lines = body.find("tr")
    table = build(made.rows, made.config)
    assert len(lines) == sum(len(line) for block in blocks(table) for line in block.cells)
    axes = len(table.row_axes) + len(table.column_axes)
    places = [tuple(cell.text for cell in line.find("td")[:axes]) for line in lines]
    assert all(all(place) for place in places)  # what lacks an axis says so by a sign
    frame = tidy.frame(table)
    assert len(frame) == len(cells)
    assert frame["status"].tolist() == [cell["status"] for cell in cells]


PIXELS = {"demo", "mdda/fig4", "mdda/table3", "medrdf/fig4", "medrdf/fig5", "smia/fig2"}
"""Run with pixels, whose encoding is most of the time."""
KINDS = {"demo", "medrdf/fig4", "medrdf/fig5", "smia/fig2"}
"""One of each kind."""
GAPS = {"demo", "medrdf/fig3", "smia/fig2"}
"""One of each kind of table and figure that can lack a cell."""


@pytest.fixture
def unencoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn, and written without their pixels."""

    def draw(self: Canvas, file: IO[bytes], **how: Any) -> None:
        self.draw_without_rendering()
        file.write(b"drawn")

    monkeypatch.setattr(Canvas, "savefig", draw)


@pytest.mark.parametrize("name", one_of_each(experiments(), KINDS))
def test_a_finished_sweep(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if name not in PIXELS:
        request.getfixturevalue("unencoded")
    made = sweep(name, rows(name), tmp_path)
    status, said = reported(made)
    assert status == 0
    assert f"{len(made.rows)} jobs: {len(made.rows)} rows done" in said
    files = {path.name: path.stat().st_size for path in tmp_path.iterdir() if path.is_file()}
    also = [f"table_{one.metric}" for one in further(made.rows, made.config)]
    tables = [f"{name}.{kind}" for name in ("table", *also) for kind in FORMATS[:-1]]
    assert set(files) == {*tables, "report.html"}
    assert all(files.values())
    for figure in made.figures:
        for ending in ("png", "pdf", "svg"):
            assert list((tmp_path / FOLDER).glob(f"{figure.name}*.{ending}"))
    check(made)


@pytest.mark.parametrize("name", one_of_each(experiments(), GAPS))
@pytest.mark.usefixtures("unencoded")
def test_a_sweep_with_failed_and_missing_cells(name: str, tmp_path: Path) -> None:
    made = sweep(name, gaps(rows(name)), tmp_path)
    status, said = reported(made)
    assert status == 1
    assert "✗" in said
    check(made)
