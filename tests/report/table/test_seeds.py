"""Seeds as axes of a table, and cells that are means over them."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medrobust.cli.report import main
from medrobust.report.render import heatmap, latex, markdown, tidy
from medrobust.report.render.best import best
from medrobust.report.render.text import parts
from medrobust.report.table.config import TableConfig
from medrobust.report.table.node import TableError
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
from medrobust.result.per_image import PerImage
from medrobust.result.row import Row

MakeRow = Callable[..., Row]
VALUES = {("none", "pgd"): [0.2, 0.3, 0.1], ("jpeg", "pgd"): [0.5, 0.4, 0.45]}
NODE = {"rows": ["defense"], "columns": ["attack"], "over": ["victim_seed"]}


def of_seed(row: MakeRow, value: float | None, seed: int, **more: Any) -> Row:
    return row(value, config={"victim_seed": seed, "victim": {"seed": seed, "lr": 0.1}}, **more)


def sweep(row: MakeRow) -> list[Row]:
    return [
        of_seed(row, value, seed, defense=defense, attack=attack)
        for (defense, attack), values in VALUES.items()
        for seed, value in enumerate(values)
    ]


def test_an_axis_of_its_own(row: MakeRow) -> None:
    table = build(sweep(row), TableConfig.parse(NODE | {"over": []}))
    assert table.row_axes == ("victim_seed", "defense")
    assert [line[0].label for line in table.row_headings[::2]] == [
        f"victim seed {seed}" for seed in range(3)
    ]
    columns = build(
        sweep(row), TableConfig.parse({"rows": ["defense"], "columns": ["attack", "victim_seed"]})
    )
    assert len(columns.column_headings) == 3
    lines = tidy.records(table)
    assert [line["victim_seed"] for line in lines] == [0, 0, 1, 1, 2, 2]
    assert all(line["seeds"] == 1 and line["sd"] is None for line in lines)


def test_means_and_standard_deviations_in_every_format(row: MakeRow) -> None:
    table = build(sweep(row), TableConfig.parse(NODE))
    assert (len(table.cells), table.row_axes) == (2, ("defense",))
    for cell, values in zip((line[0] for line in table.cells), VALUES.values(), strict=True):
        assert cell.value == pytest.approx(np.mean(values))
        assert cell.sd == pytest.approx(np.std(values, ddof=1))
        assert (cell.interval, cell.n, len(cell.members)) == (None, 2005, 3)
    assert parts(table, table.cells[0][0]).ours == "20.0 ± 10.0"
    assert best(table) == {(1, 0)}
    assert "45.0 ± 5.0" in markdown.render(table)
    assert r"45.0 $\pm$ 5.0" in latex.render(table)
    assert heatmap.render(table)[:4] == b"\x89PNG"
    (line, _) = csv.DictReader(io.StringIO(tidy.render(table)))
    assert (line["victim_seed"], line["seeds"], line["defense"]) == ("0 1 2", "3", "none")
    assert len(line["row_id"].split()) == 3
    assert "over victim seed 0, 1, 2" in " ".join(table.notes)


def test_a_single_seed_has_no_deviation(row: MakeRow) -> None:
    table = build(sweep(row)[:1], TableConfig.parse(NODE))
    assert (table.cells[0][0].value, table.cells[0][0].sd) == (0.2, None)


def test_a_failed_seed_stands_for_all(row: MakeRow) -> None:
    rows = [*sweep(row), of_seed(row, None, 3, defense="none", attack="pgd")]
    table = build(rows, TableConfig.parse(NODE))
    assert [line[0].status for line in table.cells] == ["failed", "done"]


def test_another_difference_is_no_seed(row: MakeRow) -> None:
    rows = [of_seed(row, 0.5, 0), row(0.4, config={"victim_seed": 1, "victim": {"lr": 0.2}})]
    table = build(rows, TableConfig.parse(NODE))
    assert len(table.cells) == 2
    with pytest.raises(TableError, match="have the same config"):
        build([of_seed(row, 0.5, 0), of_seed(row, 0.5, 0, n=7)], TableConfig.parse(NODE))


def test_seeds_of_defenses_and_of_the_run(row: MakeRow) -> None:
    rows = [
        row(0.1 * (1 + seed + 2 * own), defense="nrp", filters={"seed": own}, seed=seed)
        for seed in (0, 1)
        for own in (0, 1)
    ]
    table = build(rows, TableConfig.parse(NODE | {"over": ["defense_seed", "seed"]}))
    ((cell,),) = table.cells
    assert cell.value == pytest.approx(0.25)
    assert table.row_headings[0][-1].label == "NRP"
    table = build(rows, TableConfig.parse(NODE | {"over": ["seed"]}))
    assert [line[0].value for line in table.cells] == pytest.approx([0.15, 0.35])


def test_the_worst_case_is_that_of_each_seed(row: MakeRow) -> None:
    generator = np.random.default_rng(0)
    rows, records, expected = [], {}, []
    for seed in range(3):
        right = (generator.random((2, 50)) < 0.5).astype(float)
        expected.append(right.min(0).mean())
        for attack, values in zip(("pgd", "square"), right, strict=True):
            eps = {"eps": "8/255", "norm": "linf"}
            rows.append(of_seed(row, values.mean(), seed, attack=attack, settings=eps))
            ids = tuple(map(str, range(50)))
            records[rows[-1].id] = PerImage(ids, {"correct": values}, random=False)

    def table(found: list[Row]) -> Table:
        return build(found, TableConfig.parse(NODE), lambda one: records[one.id])

    worst = table(rows).cells[0][-1]
    assert worst.value == pytest.approx(np.mean(expected))
    assert worst.sd == pytest.approx(np.std(expected, ddof=1))
    assert worst.by.count(";") == 2
    assert not any(cell.derived for cell in table(rows[:-1]).cells[0])  # a seed lacks an attack


def test_the_page_shows_them(row: MakeRow, sweep_folder: Callable[..., Path]) -> None:
    folder = sweep_folder(sweep(row), {"title": "Seeds", **NODE})
    assert main([str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert "45.0 ± 5.0" in page


@pytest.mark.parametrize("over", [["victim"], ["victim_seed"]])
def test_a_wrong_seed_is_refused(over: list[str]) -> None:
    with pytest.raises(TableError, match=r"table\.over: .* choose from victim_seed, defense_seed"):
        TableConfig.parse({"rows": ["victim_seed"], "columns": ["attack"], "over": over})
