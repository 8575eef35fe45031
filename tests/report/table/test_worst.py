"""Columns of the worst case: which rows stand in it, and what it equals."""

import csv
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from medrobust.report.render import heatmap, latex, markdown, tidy
from medrobust.report.render.text import legend, parts
from medrobust.report.table.block import blocks
from medrobust.report.table.config import TableConfig
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
from medrobust.result.per_image import PerImage, draw_of
from medrobust.result.row import Row

MakeRow = Callable[..., Row]
IDS = tuple(f"set/{i}" for i in range(20))
EPS = {"eps": "8/255", "norm": "linf"}
NODE = {"rows": ["threat", "defense"], "columns": ["attack"]}


class Bench:
    """Rows with records of their images."""

    def __init__(self, row: MakeRow) -> None:
        self.row, self.rows, self.records = row, list[Row](), dict[str, PerImage]()

    def add(self, correct: Any, *, random: bool | None = False, **what: Any) -> Row:
        values = np.atleast_2d(np.asarray(correct, float))
        columns = {"correct": values.mean(0)}
        if len(values) > 1:
            columns |= {draw_of("correct", k): one for k, one in enumerate(values, start=1)}
        made = self.row(float(values.mean()), settings=what.pop("settings", EPS), **what)
        self.rows.append(made)
        self.records[made.id] = PerImage(what.get("ids", IDS), columns, random=random)
        return made

    def table(self, **more: Any) -> Table:
        config = TableConfig.parse(NODE | more)
        return build(self.rows, config, lambda row: self.records.get(row.id))


def right(*wrong: int) -> list[int]:
    return [0 if place in wrong else 1 for place in range(20)]


@pytest.fixture
def bench(row: MakeRow) -> Bench:
    made = Bench(row)
    made.add(right(), attack="none", settings={})
    made.add(right(0, 1, 2), attack="pgd")
    made.add(right(2, 3), attack="square")
    made.add(right(4, 5), attack="cw_l2", settings={"eps": None, "norm": "l2"})  # no budget
    made.add(right(6), attack="pgd", threat="adaptive")
    made.add(right(0, 7), attack="square", threat="adaptive")
    return made


def columns(table: Table) -> list[str]:
    return [heading[-1].label for heading in table.column_headings]


def test_patients_widen_the_interval(bench: Bench) -> None:
    plain = bench.table().cells[-1]
    group = np.arange(20) // 4
    bench.records = {
        name: PerImage(one.ids, {**one.columns, "group": group}, random=one.random)
        for name, one in bench.records.items()
    }
    for one, other in zip(plain[-2:], bench.table().cells[-1][-2:], strict=True):
        assert (one.value, one.by) == (other.value, other.by)
        assert other.interval[1] - other.interval[0] > one.interval[1] - one.interval[0]


def test_each_line_and_any_threat(bench: Bench) -> None:
    table = bench.table()
    assert columns(table)[-2:] == ["worst", "worst of any threat"]
    found = {
        line[0].choice: cells[-2:]
        for line, cells in zip(table.row_headings, table.cells, strict=True)
    }
    assert [cell.value for cell in found["oblivious"]] == [0.8, 0.7]
    assert [cell.value for cell in found["adaptive"]] == [0.85, 0.7]
    assert found["oblivious"][0].by == "pgd 3, square 1"
    assert found["adaptive"][0].by == "square 2, pgd 1"
    by = "oblivious pgd 3, oblivious square 1, adaptive square 1, adaptive pgd 1"
    assert found["adaptive"][1].by == by
    for low, high in (cell.interval or (1, 0) for cells in found.values() for cell in cells):
        assert low < high
    assert "of attacks of one" in " ".join(legend(table))
    assert all(columns(block)[-2:] == columns(table)[-2:] for block in blocks(table))
    lines = [*csv.DictReader(io.StringIO(tidy.render(table)))]
    worsts = [one["by"] for one in lines if one["metric"] == "accuracy_worst"]
    assert worsts[:2] == ["pgd 3, square 1", by]
    for renderer in (markdown, latex):
        assert "worst" in renderer.render(table)
    assert heatmap.render(table)[:4] == b"\x89PNG"


def test_it_can_be_left_out(bench: Bench) -> None:
    assert "worst" not in columns(bench.table(worst=False))
    assert "worst" not in columns(bench.table(metric="balanced_accuracy"))
    assert "worst" not in columns(bench.table(columns=["defense"], rows=["threat", "attack"]))
    assert "worst" not in columns(build(bench.rows, TableConfig.parse(NODE)))


def test_one_attack_makes_no_column(row: MakeRow) -> None:
    bench = Bench(row)
    bench.add(right(), attack="none", settings={})
    bench.add(right(1), attack="pgd")
    assert columns(bench.table()) == ["clean", "PGD"]


def last(bench: Bench) -> tuple[float | None, str]:
    table = bench.table()
    assert "worst" in columns(table)
    place = columns(table).index("worst")
    line = next(n for n, one in enumerate(table.row_headings) if one[0].choice == "oblivious")
    cell = table.cells[line][place]
    return cell.value, parts(table, cell).ours


def test_other_radii_and_norms_are_not_mixed(bench: Bench) -> None:
    bench.add(right(9), attack="fgsm", settings={"eps": "2/255", "norm": "linf"})
    assert last(bench) == (None, "·")
    assert "norms or radii" in " ".join(legend(bench.table()))


def test_a_row_without_a_record_or_with_other_images_leaves_none(bench: Bench) -> None:
    other = bench.add(right(9), attack="fgsm")
    assert last(bench)[0] == 0.75
    record = bench.records.pop(other.id)
    assert last(bench) == (None, "·")
    bench.records[other.id] = PerImage(tuple(reversed(IDS)), record.columns, random=False)
    assert last(bench) == (None, "·")


def test_a_failed_attack_leaves_none(bench: Bench, row: MakeRow) -> None:
    bench.rows.append(row(None, attack="fgsm", settings=EPS, status="failed", error="x"))
    assert last(bench) == (None, "—")


@pytest.mark.parametrize("random", [True, None])
def test_one_draw_of_a_randomized_defense_tells_nothing(random: bool | None, bench: Bench) -> None:
    bench.add(right(9), attack="fgsm", random=random)
    assert last(bench) == (None, "·")
    assert "defender_draws" in " ".join(legend(bench.table()))


def test_draws_that_choose_never_judge(row: MakeRow) -> None:
    """Each attack is lucky with half of the draws of another image: together they are no worse."""
    bench = Bench(row)
    first = [right(*range(0, 20, 2)), right(*range(1, 20, 2))]
    bench.add(first, attack="pgd", random=True)
    bench.add(first[::-1], attack="square", random=True)
    assert last(bench)[0] == 1.0  # chosen for its draw, and judged by the other
    bench = Bench(row)
    bench.add([right(0), right(0)], attack="pgd", random=True)
    bench.add([right(), right()], attack="square", random=True)
    assert last(bench)[0] == 0.95
