"""ε-curves of the page."""

import re

import pytest

from medrobust.report.page.cell import views
from medrobust.report.page.curve import HEIGHT, TOP, Chart, charts
from medrobust.report.table.config import TableConfig
from medrobust.report.table.pivot import build
from medrobust.result.row import Row
from tests.report.conftest import make_row
from tests.report.page_reader import read
from tests.report.test_page import page_of

LAYOUT = {"rows": ["defense"], "columns": ["attack"]}


def row(accuracy: float | None, eps: str | float, **more: object) -> Row:
    settings = {
        "norm": "linf",
        "steps": 7,
        "step_size": eps,
        "eps": eps,
        **more.pop("settings", {}),
    }
    made = make_row(accuracy, settings=settings, **more)
    if accuracy is not None:
        made.metrics["clean_accuracy"] = 0.9
        made.intervals["clean_accuracy"] = [0.88, 0.92]
    return made


def drawn(rows: list[Row]) -> list[Chart]:
    table = build(rows, TableConfig.parse(LAYOUT))
    return charts(
        [view for line in views(table, {}, {}) for view in line], "accuracy", "proportion"
    )


def test_a_line_per_defense_from_the_clean_value_on() -> None:
    rows = [
        row(0.8 - 10 * eps - 0.1 * place, eps, defense=defense)
        for eps in (8 / 255, 2 / 255, 4 / 255)  # any order
        for place, defense in enumerate(("none", "median"))
    ]
    (chart,) = drawn(rows)
    assert chart.title == "PGD · oblivious"
    assert chart.norm == "L∞"
    assert [line.label for line in chart.lines] == ["undefended", "median"]
    for place, line in enumerate(chart.lines):
        assert [point.eps for point in line.points] == [0, 2 / 255, 4 / 255, 8 / 255]
        assert line.points[0].value == 0.9
        assert (line.points[0].low, line.points[0].high) == (0.88, 0.92)
        for point in line.points[1:]:
            assert point.value == pytest.approx(0.8 - 10 * point.eps - 0.1 * place)
    assert chart.y(1.0) == TOP
    assert chart.y(0.0) > chart.y(0.5) > TOP
    assert chart.x(0) < chart.x(2 / 255) < chart.x(8 / 255)
    assert chart.y(0.0) < HEIGHT


def test_the_same_budget_written_otherwise_is_the_same_line() -> None:
    (chart,) = drawn([row(0.5, "4/255"), row(0.3, 8 / 255)])
    assert [point.eps for point in chart.lines[0].points] == [0, 4 / 255, 8 / 255]


def test_what_differs_in_more_than_eps_is_not_joined() -> None:
    assert not drawn([row(0.5, "4/255"), row(0.3, "8/255", settings={"steps": 20})])
    assert not drawn([row(0.5, "4/255"), row(0.3, "8/255", seed=1)])
    assert not drawn([row(0.5, "4/255"), row(0.3, "8/255", attack="bim")])
    assert not drawn([row(0.5, "4/255"), row(0.3, "8/255", config={"quantize": True})])
    assert not drawn([row(0.5, "4/255"), row(None, "8/255")])


def test_a_deterministic_defense_shares_the_chart_of_several_draws() -> None:
    rows = [row(0.5, eps, defense="jpeg") for eps in (2 / 255, 4 / 255)]
    more = {"config": {"defender_draws": 5}, "defense": "mdda"}
    rows += [row(0.4, eps, **more) for eps in (2 / 255, 4 / 255)]
    (chart,) = drawn(rows)
    assert [line.label for line in chart.lines] == ["JPEG", "MDDA"]


def test_charts_are_told_apart() -> None:
    rows = [
        row(0.5 - steps / 100, eps, settings={"steps": steps}, threat=threat)
        for steps in (5, 20)
        for threat in ("oblivious", "adaptive")
        for eps in ("4/255", "8/255")
    ]
    titles = [chart.title for chart in drawn(rows)]
    assert len(set(titles)) == 4
    assert "PGD · adaptive · steps 20" in titles


def test_the_drawing_shows_the_rows_numbers() -> None:
    rows = [row(0.5, "4/255"), row(0.25, "8/255")]
    page = read(page_of(rows, LAYOUT))
    points = [item for item in page.find("use") if "data-eps" in item.attributes]
    found = {
        float(item.attributes["data-eps"]): float(item.attributes["data-value"]) for item in points
    }
    assert found == {0.0: 0.9, 4 / 255: 0.5, 8 / 255: 0.25}
    (line,) = [
        item
        for item in page.find("polyline")
        if len(item.parents) and "data-line" in item.parents[-1].attributes
    ]
    heights = [float(y) for y in re.findall(r",([\d.]+)", line.attributes["points"])]
    assert heights == sorted(heights)  # down the page as ε rises
    assert "ε = 4/255: 50.0 % (48.0 to 52.0)" in points[1].text
    assert not read(page_of(rows[:1], LAYOUT)).find("polyline")
