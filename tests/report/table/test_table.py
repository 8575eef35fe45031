import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust.report.render import tidy
from medrobust.report.render.text import parts
from medrobust.report.table.config import TableConfig
from medrobust.report.table.node import TableError
from medrobust.report.table.pivot import build, remeasured
from medrobust.report.table.table import Table
from medrobust.result.flag import flag
from medrobust.result.row import Row
from tests.report.conftest import MakeRow, make_row

REFERENCE = {
    "paper": "medrdf",
    "table": "table3",
    "attacks": {"medrdf/pgd_20": {"attack": "pgd", "steps": 20}},
    "defenses": {
        "medrdf/salt_pepper_median": {
            "defense": "medrdf",
            "tokens": ["noise=salt_pepper", "denoiser=median"],
        }
    },
}


def labels(table: Table) -> tuple[list[list[str]], list[list[str]]]:
    def of(headings: tuple, axes: tuple) -> list[list[str]]:
        return [[level.label for level in head if level.axis in axes] for head in headings]

    return (
        of(table.row_headings, table.row_axes),
        of(table.column_headings, table.column_axes),
    )


CHOICES = {
    "data": st.sampled_from(["dermamnist", "covid_radiography"]),
    "model": st.sampled_from(["resnet18", "resnet50"]),
    "threat": st.sampled_from(["oblivious", "adaptive", "transfer"]),
    "surrogate": st.sampled_from(["", "vgg16"]),
    "attack": st.sampled_from(["none", "pgd", "a/pgd"]),
    "defense": st.sampled_from(["none", "median"]),
    "seed": st.sampled_from([0, 1]),
    "settings": st.fixed_dictionaries(
        {"eps": st.sampled_from(["2/255", 8 / 255]), "objective": st.sampled_from([None, {"k": 1}])}
    ),
    "filters": st.fixed_dictionaries({}, optional={"window": st.sampled_from([3, 5])}),
    "config": st.fixed_dictionaries({"split": st.sampled_from(["val", "test"])}),
}
AXES = ["data", "model", "threat", "surrogate", "attack", "defense", "seed"]


@settings(max_examples=80, deadline=None)
@given(
    cells=st.lists(st.fixed_dictionaries(CHOICES), min_size=1, max_size=25),
    axes=st.permutations(AXES),
    cut=st.integers(1, len(AXES) - 1),
    used=st.integers(2, len(AXES)),
)
def test_every_row_appears_exactly_once(
    cells: list[dict], axes: list[str], cut: int, used: int
) -> None:
    rows = {row.id: row for row in (make_row(i / 100, **cell) for i, cell in enumerate(cells))}
    side, top = axes[:cut], axes[cut:][: max(1, used - cut)]
    table = build([*rows.values()], TableConfig(rows=tuple(side), columns=tuple(top)))
    found = [cell.row.id for line in table.cells for cell in line if cell.row]
    assert sorted(found) == sorted(rows)
    assert {cell.value for line in table.cells for cell in line if cell.row} == {
        row.metrics["accuracy"] for row in rows.values()
    }
    names = labels(table)
    assert len({*map(tuple, names[0])}) == len(table.cells)
    assert len({*map(tuple, names[1])}) == len(table.cells[0])
    assert len(tidy.frame(table)) == len(table.cells) * len(table.cells[0])


def test_order_is_that_of_the_sweep_and_constant_axes_are_in_the_caption(row: MakeRow) -> None:
    rows = [
        row(0.1, attack=attack, defense=defense)
        for attack in ("pgd", "none", "bim")
        for defense in ("median", "none")
    ]
    table = build(rows, TableConfig())
    assert labels(table) == ([["median"], ["undefended"]], [["PGD"], ["clean"], ["BIM"]])
    assert table.row_axes == ("defense",)
    assert "data DermaMNIST · model ResNet-18" in table.caption


def test_settings_that_differ_are_in_the_label(row: MakeRow) -> None:
    rows = [
        row(0.3, settings={"eps": 2 / 255, "steps": 10}),
        row(0.2, settings={"eps": "8/255", "steps": 10}),
        row(0.2, attack="bim", settings={"eps": "8/255", "steps": 5}),
        row(None, settings={"eps": "16/255"}),
    ]
    assert labels(build(rows, TableConfig()))[1] == [
        ["PGD-10 eps=2/255"],
        ["PGD-10 eps=8/255"],
        ["BIM-5"],
        ["PGD-10 eps=16/255"],
    ]


def test_the_same_budget_written_twice_is_one_label(row: MakeRow) -> None:
    rows = [
        row(0.3, settings={"eps": 8 / 255}),
        row(0.2, defense="median", settings={"eps": "8/255"}),
    ]
    assert labels(build(rows, TableConfig()))[1] == [["PGD"]]


def test_merged_settings_share_a_line_and_are_noted(row: MakeRow) -> None:
    rows = [
        row(0.3, defense="mdda", settings={"eps": "2/255"}, filters={"steps": 5}),
        row(0.2, defense="mdda", settings={"eps": "6/255"}, filters={"steps": 3}),
    ]
    assert len(build(rows, TableConfig()).cells) == 2
    merged = build(rows, TableConfig(merge=("defense.steps",)))
    assert labels(merged) == ([["MDDA"]], [["PGD eps=2/255"], ["PGD eps=6/255"]])
    assert "defense.steps differs between cells: 5, 3." in merged.notes


def test_seeds_and_other_differences_make_lines(row: MakeRow) -> None:
    rows = [row(0.3, seed=seed) for seed in (0, 1)]
    assert labels(build(rows, TableConfig()))[0] == [["seed 0"], ["seed 1"]]
    rows = [row(0.3, config={"split": split}) for split in ("val", "test")]
    assert labels(build(rows, TableConfig()))[0] == [["split=val"], ["split=test"]]


def test_rows_of_one_config_are_refused(row: MakeRow) -> None:
    with pytest.raises(TableError, match="rows one, two have the same config"):
        build([row(0.1, id="one"), row(0.2, id="two")], TableConfig())


def test_failed_and_missing_cells(row: MakeRow) -> None:
    rows = [row(0.5), row(None, attack="bim"), row(0.4, defense="median")]
    table = build(rows, TableConfig())
    signs = [[parts(table, cell).ours for cell in line] for line in table.cells]
    assert signs == [["50.0", "✗"], ["40.0", "—"]]
    assert (table.count("done"), table.count("failed"), table.count("missing")) == (2, 1, 1)
    frame = tidy.frame(table)
    assert list(frame["status"]) == ["done", "failed", "done", "missing"]
    assert list(frame["attack"]) == ["pgd", "bim", "pgd", "bim"]
    assert frame["error"][1] == "RuntimeError: CUDA out of memory"


def test_paper_numbers(row: MakeRow) -> None:
    config = TableConfig.parse({"reference": REFERENCE})
    rows = [
        row(0.741, attack="none"),
        row(0.6, attack="medrdf/pgd_20", settings={"eps": "8/255"}),
        row(
            0.642,
            attack="medrdf/pgd_20",
            defense="medrdf/salt_pepper_median",
            settings={"eps": "8/255"},
            filters={"n": 500, "sigma": 0.1},
        ),
    ]
    table = build(rows, config)
    assert [parts(table, cell).lines() for line in table.cells for cell in line] == [
        "74.1 / 74.1 (±0.0)",
        "60.0 / 0.0 (+60.0)*",
        "—",
        "64.2 / 65.1 (−0.9)",
    ]
    assert "Defense setting n = 500 in ours, 10000 in the paper." in table.notes
    assert not any("sigma" in note for note in table.notes)


def test_paper_numbers_of_another_metric_do_not_stand_beside_ours(row: MakeRow) -> None:
    config = remeasured(TableConfig.parse({"reference": REFERENCE}), "balanced_accuracy")
    table = build([row(0.7, attack="none")], config)
    assert not table.has_paper
    assert any("No number of medrdf table3 (balanced_accuracy)" in note for note in table.notes)


def test_another_metric_of_ours_may_stand_beside_the_papers(row: MakeRow) -> None:
    node = {"reference": {**REFERENCE, "metrics": {"accuracy_vote": "accuracy"}}}
    table = build(
        [row(0.6, attack="none", metrics={"accuracy": 0.6, "accuracy_vote": 0.7})],
        remeasured(TableConfig.parse(node), "accuracy_vote"),
    )
    ((cell,),) = table.cells
    assert cell.paper
    assert (cell.value, cell.paper.value, cell.paper.metric) == (0.7, 0.741, "accuracy")


def test_tokens_take_our_settings(row: MakeRow) -> None:
    reference = {
        "paper": "medrdf",
        "table": "table2",
        "data": {"dermamnist": {"model": "resnet18"}},
        "defenses": {"medrdf": {"tokens": ["n={n}"]}},
    }
    rows = [
        row(0.6, attack="none", defense="medrdf", filters={"n": n, "sigma": 0.1})
        for n in (100, 1000)
    ]
    table = build(rows, TableConfig.parse({"reference": reference}))
    values = [line[0].paper for line in table.cells]
    assert [value.defense_tokens[-1] for value in values if value] == ["n=100", "n=1000"]
    with pytest.raises(TableError, match=r"a token of medrdf asks for the setting 'n'.*\['class'"):
        build(
            [row(0.6, attack="none", defense="medrdf")], TableConfig.parse({"reference": reference})
        )


def test_phantoms_have_no_paper_and_say_so(row: MakeRow) -> None:
    config = TableConfig.parse({"title": "Table III", "reference": REFERENCE})
    table = build([row(0.741, attack="none", phantom=True)], config)
    assert table.title == "PHANTOM DATA, no result: Table III"
    assert not table.has_paper
    assert not any("medrdf" in note for note in table.notes)
    mixed = [row(0.7, phantom=True), row(0.7, defense="median")]
    with pytest.raises(TableError, match="cannot stand in one table"):
        build(mixed, config)


ZERO, OVER = flag("text", text="zero gradients"), flag("text", text="over budget")


def test_flags_are_numbered(row: MakeRow) -> None:
    rows = [
        row(0.7, flags=[ZERO]),
        row(0.6, attack="bim", flags=[OVER, ZERO]),
    ]
    table = build(rows, TableConfig())
    assert table.flags == (ZERO, OVER)
    assert [table.marks(cell) for cell in table.cells[0]] == [(1,), (1, 2)]
    assert parts(table, table.cells[0][1]).ours + "¹,²" == parts(table, table.cells[0][1]).lines()


@pytest.mark.parametrize(
    ("rows", "node", "message"),
    [
        ([], {}, "no rows"),
        ([make_row()], {"metric": "f1"}, r"no row has the metric 'f1'.*accuracy"),
        ([], {"rows": ["defence"]}, "axis 'defence' is unknown; choose from data, model"),
        ([], {"rows": "model"}, "table.rows is 'model', expected a list"),
        ([], {"rows": ["attack"]}, "no axis may stand twice"),
        ([], {"axis": 1}, r"table has unknown keys \['axis'\]"),
        ([], {"best": "first"}, "expected high, low or none"),
        ([], {"merge": ["steps"]}, "no setting such as defense.steps"),
        ([], {"reference": {"paper": "medrdf2"}}, "no paper 'medrdf2'; there are mdda"),
        ([], {"reference": {"paper": "smia", "table": "t1"}}, r"is one of \['table1'"),
        (
            [],
            {"metric": "f1", "reference": {"paper": "smia", "table": "table1"}},
            re.escape("prints no 'f1'; table.reference.metric is one of ['accuracy'"),
        ),
        (
            [],
            {"reference": {**REFERENCE, "attacks": {"pgd": {"attack": "PGD"}}}},
            r"reference.attacks.pgd: medrdf table3 has no attack 'PGD', only \['bim'",
        ),
        (
            [],
            {"reference": {**REFERENCE, "attacks": {"pgd": {"step": 3}}}},
            r"attacks.pgd has unknown keys \['step'\]",
        ),
    ],
)
def test_errors_say_what_mends_them(rows: list[Row], node: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):  # noqa: PT012
        config = TableConfig.parse(node)
        build(rows, config)
