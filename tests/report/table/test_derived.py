"""Means, columns of clean cells, several metrics, spread lines and blocks, in every output."""

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from medrobust.metric.definition import unit_of
from medrobust.report.render import heatmap, latex, markdown, tidy
from medrobust.report.render.best import best
from medrobust.report.render.terminal import show
from medrobust.report.render.text import parts
from medrobust.report.table.block import blocks
from medrobust.report.table.config import TableConfig
from medrobust.report.table.measure import printed
from medrobust.report.table.node import TableError
from medrobust.report.table.pivot import build, remeasured
from medrobust.report.table.table import Table
from medrobust.result.row import Row

MakeRow = Callable[..., Row]
ATTACKS = {"none": {}, "mdda/pgd": {"eps": 1}, "mdda/cw_l2": {}}
NODE = {
    "rows": ["threat", "attack.eps", "defense"],
    "columns": ["attack"],
    "spread": ["attack.eps"],
    "mean": {"label": "ACC", "over": list(ATTACKS)},
    "extra": ["seconds_per_image", "training_hours"],
    "reference": {
        "paper": "mdda",
        "table": "table2",
        "defenses": {
            "mdda/n5": {"defense": "mdda", "tokens": ["N={steps}"]},
            "mdda/n3": {"defense": "mdda", "tokens": ["N={steps}"]},
        },
    },
}
ISIC = {"data": "isic2019", "model": "resnet50"}


def sweep(row: MakeRow) -> list[Row]:
    """Clean, PGD at two eps, and CW without eps; MDDA has an N for each eps; then adaptive."""
    rows = []
    for defense, steps, budgets in (
        ("none", 0, (2, 6)),
        ("mdda/n5", 5, (2,)),
        ("mdda/n3", 3, (6,)),
    ):
        filters = {"steps": steps} if steps else {}
        seconds = {"per_image": 0.25 * (1 + steps), "training": 7200.0}
        common = {**ISIC, "defense": defense, "filters": filters, "seconds": seconds}
        rows.append(row(0.8 - steps / 50, attack="none", **common))
        rows.append(row(0.3, attack="mdda/cw_l2", settings={"eps": None}, **common))
        for eps in budgets:
            rows.append(
                row(0.1 * steps, attack="mdda/pgd", settings={"eps": f"{eps}/255"}, **common)
            )
    aware = {**ISIC, "threat": "adaptive", "attack": "mdda/pgd", "settings": {"eps": "2/255"}}
    rows.append(row(0.05, defense="mdda/n5", filters={"steps": 5}, **aware))
    return rows


def table(row: MakeRow, **more: Any) -> Table:
    return build(sweep(row), TableConfig.parse(NODE | more))


def line(shown: Table, *labels: str) -> list[str]:
    """A line's cells as text, by the labels of its heading."""
    for block in blocks(shown):
        for heading, cells in zip(block.row_headings, block.cells, strict=True):
            if set(labels) <= {level.label for level in heading}:
                return [parts(shown, cell).lines() for cell in cells]
    raise AssertionError(labels)


def test_clean_cells_stand_in_each_line_of_their_defense(row: MakeRow) -> None:
    shown = table(row, mean=None, extra=[], reference=None)
    first, second = blocks(shown)
    assert [[level.label for level in heading] for heading in first.row_headings] == [
        ["oblivious", "2/255", "undefended"],
        ["oblivious", "2/255", "mdda/n5"],
        ["oblivious", "6/255", "undefended"],
        ["oblivious", "6/255", "mdda/n3"],
    ]
    assert (
        line(shown, "2/255", "undefended")
        == line(shown, "6/255", "undefended")
        == ["80.0", "30.0", "0.0"]
    )
    assert line(shown, "mdda/n3") == ["74.0", "30.0", "30.0"]
    assert [level.label for heading in second.column_headings for level in heading] == ["PGD"]
    assert shown.count("missing") == 2  # clean and CW of the adaptive line


def test_without_the_setting_anywhere_a_row_stays_where_it_is(row: MakeRow) -> None:
    rows = [row(0.5, attack="none"), row(0.4, attack="cw_l2")]
    shown = build(rows, TableConfig(rows=("attack.eps", "defense"), spread=("attack.eps",)))
    assert sum(cell.row is not None for cells in shown.cells for cell in cells) == 2


def test_the_mean_stands_beside_the_papers(row: MakeRow) -> None:
    shown = table(row)
    assert line(shown, "2/255", "undefended")[3] == "36.7 / 11.9 (+24.8)*"
    assert line(shown, "6/255", "undefended")[3] == "36.7 / 13.5 (+23.2)*"
    assert line(shown, "mdda/n5")[3] == "50.0 / 62.5 (−12.5)*"
    found = {cell.paper.line: cell.paper for cells in shown.cells for cell in cells if cell.paper}
    assert [value.value for value in found.values() if value.attack == "average"] == [
        0.119,
        0.625,
        0.135,
        0.544,
    ]
    cell = blocks(shown)[0].cells[1][3]
    assert cell.value == pytest.approx((0.7 + 0.3 + 0.5) / 3)
    assert cell.interval == pytest.approx((cell.value - 0.02, cell.value + 0.02))


def test_a_mean_is_shown_only_when_all_its_cells_are_there(row: MakeRow) -> None:
    rows = [r for r in sweep(row) if (r.cell["attack"], r.cell["defense"]) != ("none", "mdda/n3")]
    shown = build(rows, TableConfig.parse(NODE))
    assert line(shown, "mdda/n3")[3] == "—"
    assert "— for a mean: some of its cells are missing." in markdown.render(shown)
    assert line(shown, "mdda/n5")[3].startswith("50.0")
    failed = [row(None, attack="mdda/cw_l2", **ISIC), *rows[2:4], rows[0]]
    one = build(failed, TableConfig.parse(NODE))
    assert line(one, "2/255")[-3] == "—"
    absent = build(rows, TableConfig.parse(NODE | {"mean": {"over": ["none", "bim"]}}))
    assert {parts(absent, cells[3]).ours for cells in absent.cells} == {"—"}


def test_extra_columns_come_from_the_clean_cell(row: MakeRow) -> None:
    shown = table(row)
    assert line(shown, "2/255", "undefended")[4:] == ["0.250", "2.00"]
    assert line(shown, "mdda/n3")[4:] == ["1.00", "2.00"]
    assert not any(across in (4, 5) for _, across in best(blocks(shown)[0]))
    without = build([r for r in sweep(row) if r.cell["attack"] != "none"], TableConfig.parse(NODE))
    assert line(without, "mdda/n3")[-2:] == ["—", "—"]
    two = build(sweep(row), TableConfig.parse(NODE | {"extra": ["balanced_accuracy"]}))
    assert line(two, "mdda/n5")[4] == "35.0"


def test_extra_columns_stand_beside_the_papers(row: MakeRow) -> None:
    node = {
        "extra": ["seconds_per_image"],
        "reference": {
            "paper": "medrdf",
            "table": "table2",
            "data": {"dermamnist": {"tokens": ["n={n}"]}},
        },
    }
    rows = [
        row(0.5, attack="none", defense="medrdf", filters={"n": n}, seconds={"per_image": 2.0})
        for n in (100, 100_000)
    ]
    shown = build(rows, TableConfig.parse(node))
    assert line(shown, "MedRDF n=100")[1] == "2.00 / 0.100 (+1.90)"
    assert line(shown, "MedRDF n=100000")[1] == "2.00 / 10.0 (−8.00)"


def test_several_metrics_are_columns(row: MakeRow) -> None:
    rows = [
        row(
            0.5,
            attack=attack,
            defense=defense,
            model="resnet50",
            data="covid_radiography",
            settings={} if attack == "none" else {"steps": 100},
            metrics={"accuracy": 0.5, "robust_metric": 2.25} | share,
        )
        for attack in ("none", "pgd")
        for defense, share in (("none", {}), ("medrdf", {"correct_robust": 0.9}))
    ]
    node = {
        "rows": ["attack", "defense"],
        "columns": [],
        "metrics": ["accuracy", "correct_robust", "robust_metric"],
        "reference": {
            "paper": "medrdf",
            "table": "table9",
            "metrics": {"correct_robust": "rm_correct_robust"},
        },
        "units": {"correct_robust": "proportion"},
    }
    shown = build(rows, TableConfig.parse(node))
    assert [heading[-1].label for heading in shown.column_headings] == [
        "accuracy",
        "correct robust",
        "robust metric",
    ]
    assert line(shown, "PGD-100", "undefended") == ["50.0 / 0.0 (+50.0)*", "·", "2.25"]
    assert line(shown, "clean", "MedRDF") == ["50.0", "90.0 / 90.8 (−0.8)", "2.25"]
    assert "Metrics, %" in markdown.render(shown)
    single = build(
        rows,
        remeasured(
            TableConfig.parse(node | {"columns": ["attack"], "rows": ["defense"]}), "accuracy"
        ),
    )
    assert len(single.cells[0]) == 2
    nested = build(rows, TableConfig.parse(node | {"columns": ["attack"], "rows": ["defense"]}))
    assert len(nested.cells[0]) == 6


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"mean": {"label": "ACC"}}, r"table.mean.over=\[\]"),
        ({"mean": {"over": ["a", "a"]}}, "expected choices of the column axis"),
        ({"mean": ["a"]}, "table.mean is .* expected a mapping"),
        ({"mean": {"over": "a"}}, "table.mean.over is 'a', expected a list"),
        ({"mean": {"over": ["a"]}, "metrics": ["accuracy"]}, "needs one, and one metric"),
        ({"spread": ["attack.eps"]}, "table.spread: 'attack.eps' is no setting"),
        ({"spread": ["defense"]}, "table.spread: 'defense' is no setting"),
        ({"columns": []}, "each needs an axis"),
        (
            {"reference": {"paper": "medrdf", "table": "table9", "metrics": {"a": "b"}}},
            "prints no 'b'; table.reference.metric is one of",
        ),
    ],
)
def test_a_wrong_node_is_told(node: dict[str, Any], message: str) -> None:
    with pytest.raises(TableError, match=message):
        TableConfig.parse(node)


def test_an_unknown_extra_metric_is_told(row: MakeRow) -> None:
    with pytest.raises(TableError, match="no row has the metric 'speed'"):
        build(sweep(row), TableConfig.parse(NODE | {"extra": ["speed"]}))


def test_every_output_has_blocks_means_and_extras(row: MakeRow) -> None:
    shown = table(row)
    file = io.StringIO()
    show(shown, Console(file=file, width=200))
    text, tex = markdown.render(shown), latex.render(shown)
    for out, sign in ((file.getvalue(), ": "), (text, ": "), (tex, "}}")):
        assert out.index(f"Oblivious{sign}") < out.index("36.7") < out.index(f"Adaptive{sign}")
        assert all(label in out for label in ("ACC", "s per image", "training, h"))
        aware = out[out.index(f"Adaptive{sign}") :]
        assert ("5.0" in aware, "ACC" in aware) == (True, False)
        assert "A mean's interval is the mean of its cells'." in aware
        assert "not run" not in aware
    assert "/ 11.9 (" in text
    assert r"{\scriptsize 11.9 (+24.8)*}" in tex  # below ours
    block = text[text.index("### Adaptive") :].split("\n\n")[1]
    assert [part.strip() for part in block.splitlines()[0].split("|")[1:-1]] == [
        "attack.eps",
        "defense",
        "PGD",
    ]
    assert "/" not in block.splitlines()[2].replace("mdda/n5", "").replace("2/255", "")
    assert tex.count(r"\toprule") == tex.count(r"\bottomrule") == 1
    records = list(csv.DictReader(io.StringIO(tidy.render(shown))))
    assert {line["metric"] for line in records if line["status"] == "done"} == {
        *("accuracy", "accuracy_mean", "seconds_per_image", "training_hours")
    }
    (mean,) = [
        line
        for line in records
        if line["metric"] == "accuracy_mean" and line["row"] == "oblivious | 2/255 | mdda/n5"
    ]
    assert (mean["column"], mean["paper_value"], mean["attack"]) == ("ACC", "0.625", "ACC")
    assert heatmap.render(shown).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0000123, "1.2e-05"),
        (0.25, "0.250"),
        (0.09, "0.090"),
        (3.8, "3.80"),
        (87.6, "87.6"),
        (1234.5, "1234"),
    ],
)
def test_times_have_three_digits(value: float, text: str) -> None:
    assert printed(value, "seconds", percent=True) == text
    assert re.fullmatch(r"[\d.e-]+", text)


def test_counts_are_whole_numbers() -> None:
    assert unit_of("training_queries") == "count"
    assert printed(1_234_567.0, "count", percent=True) == "1234567"
