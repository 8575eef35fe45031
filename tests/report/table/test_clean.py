"""Clean values of tables without rows of clean images."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from medrobust.report.render import heatmap, latex, markdown, tidy
from medrobust.report.render.text import legend, parts
from medrobust.report.table.block import blocks
from medrobust.report.table.config import TableConfig
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
from medrobust.result.row import Row

MakeRow = Callable[..., Row]
CLEAN = {"none": 0.9, "jpeg": 0.7}


def measured(row: Row, clean: float | None, name: str = "clean_accuracy") -> Row:
    if clean is None or row.status != "done":
        return row
    spans = row.intervals | {name: [clean - 0.02, clean + 0.02]}
    return replace(row, metrics=row.metrics | {name: clean}, intervals=spans)


def sweep(row: MakeRow, **clean: float) -> list[Row]:
    return [
        measured(row(0.5, attack=attack, threat=threat, defense=defense), value)
        for threat in ("oblivious", "adaptive")
        for defense, value in (CLEAN | clean).items()
        for attack in ("pgd", "square")
    ]


def table_of(rows: list[Row], side: list[str], top: list[str], **more: Any) -> Table:
    return build(rows, TableConfig.parse({"rows": side, "columns": top} | more))


def table(rows: list[Row], **more: Any) -> Table:
    return table_of(rows, ["threat", "defense"], ["attack"], **more)


def heads(shown: Table) -> list[tuple[str, ...]]:
    return [
        tuple(level.label for level in heading if level.axis in shown.column_axes)
        for heading in shown.column_headings
    ]


def texts(shown: Table) -> list[list[str]]:
    return [[parts(shown, cell).ours for cell in line] for line in shown.cells]


def test_it_stands_first_with_its_interval(row: MakeRow) -> None:
    shown = table(sweep(row))
    assert heads(shown) == [("clean",), ("PGD",), ("Square",)]
    assert [line[0].value for line in shown.cells] == [0.9, 0.7, 0.9, 0.7]
    assert [line[0].interval for line in shown.cells[:2]] == [
        (0.88, 0.92),
        (0.7 - 0.02, 0.7 + 0.02),
    ]
    assert all(len(block.column_headings) == 3 for block in blocks(shown))
    assert "before the attack" in " ".join(legend(shown))
    assert shown.count("done") == 8  # derived cells are no jobs
    for renderer in (markdown, latex):
        assert "90.0" in renderer.render(shown)
    assert heatmap.render(shown).startswith(b"\x89PNG")


def test_the_data_name_metric_place_and_row(row: MakeRow) -> None:
    rows = sweep(row)
    lines = [*csv.DictReader(io.StringIO(tidy.render(table(rows))))]
    (first, *_) = clean = [line for line in lines if line["metric"] == "clean_accuracy"]
    assert len(clean) == 4
    assert (first["attack"], first["defense"], first["threat"]) == ("none", "none", "oblivious")
    assert (first["value"], first["n"], first["row_id"]) == ("0.9", "2005", rows[0].id)
    assert {line["attack"] for line in lines if line["metric"] == "accuracy"} == {"pgd", "square"}


def test_none_where_it_was_asked_for_switched_off_or_there(row: MakeRow) -> None:
    rows = sweep(row)
    for attack in ("none", "stress/none"):
        assert "clean_accuracy" not in tidy.render(table([*rows, row(0.9, attack=attack)]))
    assert heads(table(rows, clean=False)) == [("PGD",), ("Square",)]
    assert ("clean",) not in heads(table(rows, extra=["clean_accuracy"]))
    assert ("clean",) not in heads(table(rows, metric="balanced_accuracy"))


def test_rows_that_disagree_leave_none_and_a_note(row: MakeRow) -> None:
    rows = sweep(row)
    rows[2] = measured(rows[2], 0.72)
    shown = table(rows)
    assert [line[0] for line in texts(shown)] == ["90.0", "·", "90.0", "70.0"]
    assert (
        "No clean value where the attacks of a line met other images or draws: 70.0 to 72.0."
        in (shown.notes)
    )
    rows = sweep(row)
    rows[2] = replace(rows[2], n=100)  # the same share of other images
    assert texts(table(rows))[1][0] == "·"
    assert "70.0, n = 100 to 2005." in " ".join(table(rows).notes)


def test_failed_attacks_do_not_hide_it(row: MakeRow) -> None:
    rows = sweep(row)
    rows[0] = row(None, attack="pgd")
    rows[2:4] = [row(None, attack=attack, defense="jpeg") for attack in ("pgd", "square")]
    assert [line[0] for line in texts(table(rows))] == ["90.0", "—", "90.0", "70.0"]


def test_over_seeds_it_is_their_mean(row: MakeRow) -> None:
    def of_seed(seed: int, clean: float, attack: str) -> Row:
        return measured(row(0.5, attack=attack, seed=seed), clean)

    pairs = ((0, 0.8), (1, 0.9))
    rows = [of_seed(seed, clean, name) for seed, clean in pairs for name in ("pgd", "bim")]
    ((cell, *_),) = table(rows, over=["seed"]).cells
    assert cell.value == pytest.approx(0.85)
    assert cell.sd == pytest.approx(0.1 / 2**0.5)
    assert cell.interval is None
    rows[1] = measured(rows[1], 0.7)
    shown = table(rows, over=["seed"])
    assert heads(shown) == [("PGD",), ("BIM",)]  # no line is left that has one
    assert "other images or draws" in shown.notes[0]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (
            {"rows": ["defense"], "columns": ["threat", "attack"]},
            [("oblivious", "clean"), ("oblivious", "PGD"), ("oblivious", "Square")],
        ),
        (
            {"rows": ["threat"], "columns": ["attack", "defense"]},
            [("clean", "undefended"), ("clean", "JPEG"), ("PGD", "undefended")],
        ),
        (
            {
                "rows": ["defense", "threat"],
                "columns": ["attack"],
                "metrics": ["accuracy", "share"],
            },
            [("clean", "accuracy"), ("PGD", "accuracy"), ("PGD", "share")],
        ),
    ],
)
def test_it_takes_the_place_of_attack_none(
    node: dict[str, Any], expected: list[tuple[str, ...]], row: MakeRow
) -> None:
    rows = [replace(one, metrics=one.metrics | {"share": 0.1}) for one in sweep(row)]
    shown = build(rows, TableConfig.parse(node | {"units": {"share": "proportion"}}))
    assert heads(shown)[:3] == expected


def test_it_is_a_line_where_attacks_are_lines(row: MakeRow) -> None:
    shown = table_of(sweep(row), ["threat", "attack"], ["defense"])
    side = [[level.label for level in heading] for heading in shown.row_headings]
    assert side[:3] == [["oblivious", "clean"], ["oblivious", "PGD"], ["oblivious", "Square"]]
    assert texts(shown)[0] == texts(shown)[3] == ["90.0", "70.0"]


def test_a_single_attack_has_it_before_threats_or_metrics(row: MakeRow) -> None:
    rows = [one for one in sweep(row) if one.cell["attack"] == "pgd"]
    shown = table_of(rows, ["defense"], ["threat"])
    assert heads(shown) == [("clean",), ("oblivious",), ("adaptive",)]
    own = [one for one in rows if one.cell["threat"] == "oblivious"]
    shown = table_of(own, ["defense"], [], metrics=["accuracy", "balanced_accuracy"])
    assert heads(shown) == [("clean accuracy",), ("accuracy",), ("balanced accuracy",)]
    assert [line[0] for line in texts(shown)] == ["90.0", "70.0"]


def test_other_tasks_have_theirs(row: MakeRow) -> None:
    made = [
        measured(replace(one, metrics={"dice": 0.3}), 0.8, "clean_dice") for one in sweep(row)[:2]
    ]
    assert texts(table(made, metric="dice")) == [["80.0", "30.0", "30.0"]]


def test_code_of_another_day_is_flagged(row: MakeRow) -> None:
    rows = [replace(one, code={"package": "other"}) for one in sweep(row)]
    assert {flag.code for flag in table(rows).cells[0][0].flags} == {"other_code"}
    weak = [replace(one, flags=[]) for one in sweep(row)]
    assert not table(weak).cells[0][0].flags
