"""Settings as axes of a table."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust.report.render import latex, markdown
from medrobust.report.table.config import TableConfig
from medrobust.report.table.node import TableError
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
from medrobust.result.row import Row
from tests.experiment.paper_cells import composed, planned, table_config
from tests.experiment.paper_cells import row as cell
from tests.report.conftest import make_row


def medrdf(noise: str, denoiser: str, accuracy: float | None = 0.5, **more: object) -> Row:
    key = "_target_" if accuracy is None else "class"
    filters = {
        "noise": {key: f"medrobust.defense.noise.additive.{noise}", "sigma": 0.1},
        "denoiser": {key: f"medrobust.defense.{denoiser}"},
    }
    name = f"medrdf/{noise}_{denoiser}".lower()
    return make_row(accuracy, defense=name, filters=filters, **more)


def side(table: Table) -> list[list[str]]:
    return [
        [level.label for level in heading if level.axis in table.row_axes]
        for heading in table.row_headings
    ]


def top(table: Table) -> list[list[str]]:
    return [
        [level.label for level in heading if level.axis in table.column_axes]
        for heading in table.column_headings
    ]


def test_rows_of_noise_and_denoiser_replace_the_choice() -> None:
    rows = [
        make_row(0.1),
        make_row(0.2, defense="median", filters={"window": 3}),
        *(
            medrdf(noise, denoiser)
            for noise in ("Gaussian", "Poisson")
            for denoiser in ("NoDefense", "Median")
        ),
    ]
    table = build(rows, TableConfig(rows=("defense.noise", "defense.denoiser")))
    assert table.row_axes == ("defense.noise", "defense.denoiser")
    assert side(table) == [
        ["undefended", "–"],
        ["median", "–"],
        *(["Gaussian", "no denoiser"], ["Gaussian", "median"]),
        *(["Poisson", "no denoiser"], ["Poisson", "median"]),
    ]
    found = [line for line in markdown.render(table).splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in found[2:]] == [
        *("undefended", "median", "Gaussian", "", "Poisson", "")
    ]


def test_the_training_of_the_victim_is_an_axis() -> None:
    rows = [
        make_row(epochs / 100, defense=defense, config={"victim": {"max_epochs": epochs}})
        for epochs in (4, 60)
        for defense in ("none", "median")
    ]
    table = build(rows, TableConfig(rows=("victim.max_epochs", "defense"), clean=False))
    assert side(table) == [
        *(["4", "undefended"], ["4", "median"], ["60", "undefended"], ["60", "median"])
    ]
    assert [line[0].value for line in table.cells] == [0.04, 0.04, 0.6, 0.6]
    failed = make_row(None, defense="jpeg")  # knows no recipe
    table = build([*rows, failed], TableConfig(rows=("victim.max_epochs", "defense"), clean=False))
    assert side(table)[-1] == ["–", "JPEG"]


@pytest.mark.slow
def test_medrdf_table3_is_laid_out_as_in_the_paper() -> None:
    experiment = composed("experiment=medrdf/table3")
    jobs = planned(experiment, "attack=none", "data=dermamnist")
    found = [cell(experiment, job, {"accuracy": 0.5}) for job in jobs]
    table = build(found, table_config(experiment))
    filtered = ("no denoiser", "Gaussian", "median")
    noises = ("Gaussian", "s.p.", "Poisson")
    assert side(table) == [
        *([name, "–"] for name in ("undefended", "Gaussian filter", "median")),
        *([noise, denoiser] for noise in noises for denoiser in filtered),
    ]
    assert all(cell.paper for line in table.cells for cell in line)


def test_columns_of_attack_and_eps() -> None:
    rows = [
        make_row(0.9, attack="none"),
        *(
            make_row(0.5, attack=attack, settings={"eps": eps})
            for attack in ("pgd", "bim")
            for eps in ("2/255", 8 / 255)
        ),
        make_row(0.3, attack="bim", settings={"eps": 2 / 255}, defense="median"),
    ]
    table = build(rows, TableConfig(rows=("defense",), columns=("attack", "attack.eps")))
    assert top(table) == [
        ["clean", "–"],
        *(["PGD", "eps=2/255"], ["PGD", "eps=8/255"]),
        *(["BIM", "eps=2/255"], ["BIM", "eps=8/255"]),
    ]
    assert table.cells[1][3].value == 0.3
    head = latex.render(table).splitlines()
    at = head.index(r"\toprule")
    assert head[at + 1].count(r"\multicolumn") == 3
    assert head[at + 2] == r"\cmidrule(lr){2-2} \cmidrule(lr){3-4} \cmidrule(lr){5-6}"


def test_a_choice_that_settings_do_not_tell_apart_stays() -> None:
    rows = [make_row(0.5, attack=attack, settings={"eps": "8/255"}) for attack in ("pgd", "bim")]
    table = build(rows, TableConfig(rows=("attack.eps",), columns=("defense",)))
    assert side(table) == [["PGD"], ["BIM"]]
    assert sum(cell.value is not None for line in table.cells for cell in line) == 2


def test_other_settings_still_make_lines() -> None:
    rows = [
        make_row(0.5, settings={"eps": "8/255", "steps": steps}, config={"k": steps})
        for steps in (1, 7)
    ]
    shown = build(rows, TableConfig(rows=("defense",), columns=("attack", "attack.eps")))
    assert top(shown) == [["PGD-1"], ["PGD-7"]]


def test_a_failed_row_stands_with_its_like() -> None:
    rows = [medrdf("Gaussian", "Median", 0.5), medrdf("Gaussian", "Median", None, attack="bim")]
    table = build(rows, TableConfig(rows=("defense.noise",), columns=("attack",)))
    assert [[cell.status for cell in line] for line in table.cells] == [["done", "failed"]]


def test_a_setting_that_no_row_has_is_said() -> None:
    rows = [make_row(0.5, attack=attack, settings={"eps": "8/255"}) for attack in ("pgd", "bim")]
    table = build(rows, TableConfig(columns=("attack.esp",)))
    assert "No row has the setting attack.esp; attack settings are class, eps." in table.notes
    assert top(table) == [["PGD"], ["BIM"]]
    assert not any("No row" in note for note in build(rows, TableConfig()).notes)
    with pytest.raises(TableError, match=r"'data\.n' is unknown.*such as attack\.eps"):
        TableConfig.parse({"rows": ["data.n"]})


CHOICES = {
    "attack": st.sampled_from(["none", "pgd", "a/pgd"]),
    "defense": st.sampled_from(["none", "median", "medrdf"]),
    "accuracy": st.sampled_from([0.5, None]),
    "settings": st.fixed_dictionaries(
        {"steps": st.sampled_from([1, 2])}, optional={"eps": st.sampled_from(["2/255", 8 / 255])}
    ),
    "filters": st.fixed_dictionaries(
        {},
        optional={
            "window": st.sampled_from([3, 5]),
            "noise": st.sampled_from([{"class": "a.B", "sigma": 1}, {"class": "a.B"}]),
        },
    ),
}
AXES = ["model", "attack", "attack.eps", "defense", "defense.window", "defense.noise"]


@settings(max_examples=80, deadline=None)
@given(
    cells=st.lists(st.fixed_dictionaries(CHOICES), min_size=1, max_size=20),
    axes=st.permutations(AXES),
    cut=st.integers(1, len(AXES) - 1),
    used=st.integers(2, len(AXES)),
)
def test_no_row_hides_another(cells: list[dict], axes: list[str], cut: int, used: int) -> None:
    rows = {row.id: row for row in (make_row(**cell) for cell in cells)}
    config = TableConfig(rows=tuple(axes[:cut]), columns=tuple(axes[cut:][: max(1, used - cut)]))
    table = build([*rows.values()], config)
    found = [cell.row.id for line in table.cells for cell in line if cell.row]
    assert sorted(found) == sorted(rows)
    assert len({*map(tuple, side(table))}) == len(table.cells)
    assert len({*map(tuple, top(table))}) == len(table.cells[0])
