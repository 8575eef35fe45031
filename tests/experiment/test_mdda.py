"""MDDA's experiments compose, plan what they say, and find every number that the paper prints."""

from dataclasses import replace

import pytest

from medrobust.report.callback import plain_figure
from medrobust.report.figure.core.base import Source
from medrobust.report.figure.core.kinds import parse
from medrobust.report.table import reference
from medrobust.report.table.block import blocks
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
from medrobust.result.row import Row
from tests.experiment.paper_cells import composed, planned, row, table_config

NAMES = ("table2", "table3", "fig4", "fig5", "fig6", "fig7")
BUDGETLESS = ("none", "mdda/cw_l2")


def rows(name: str) -> list[Row]:
    """What the sweep would leave: attacks without a budget give one row for both."""
    config = composed(f"experiment=mdda/{name}")
    found: dict[str, Row] = {}
    for job in planned(config):
        made = row(config, job, {"accuracy": 0.5})
        key = {k: v for k, v in job.items() if k != "eps" or made.cell["attack"] not in BUDGETLESS}
        surrogate = made.cell["threat"] == "transfer"
        cell = made.cell | {"surrogate": "resnet50" if surrogate else ""}
        classes = {"confusion": [[3, 1], [2, 4]], "classes": ["MEL", "NV"]}
        ident = repr(sorted(key.items()))
        found[ident] = replace(made, id=ident, cell=cell, config={"job": key}, **classes)
    return [*found.values()]


def table(name: str, found: list[Row] | None = None) -> Table:
    return build(found or rows(name), table_config(composed(f"experiment=mdda/{name}")))


@pytest.mark.parametrize(("name", "count"), [("table2", 72), ("table3", 20)])
def test_every_number_that_the_paper_prints_has_its_cell(name: str, count: int) -> None:
    wanted = {value.line for value in reference.load("mdda") if value.table == name}
    assert len(wanted) == count
    shown = table(name)
    found = {cell.paper.line for line in shown.cells for cell in line if cell.paper}
    missed = [value for value in reference.load("mdda") if value.line in wanted - found]
    assert not missed, missed
    assert found == wanted
    assert "69.3" in str(shown.notes) or name == "table3"


@pytest.mark.parametrize(("name", "lines", "aware"), [("table2", 10, 8), ("table3", 4, 3)])
def test_the_second_block_is_adaptive_and_has_no_number_of_the_paper(
    name: str, lines: int, aware: int
) -> None:
    first, second = blocks(table(name))
    assert len(first.cells) == lines
    assert not any(cell.status == "missing" for line in first.cells for cell in line[:-1])
    assert all(cell.paper for line in first.cells for cell in line[:-1])  # all but the seconds
    assert second.heading.startswith("Adaptive")
    assert len(second.cells) == aware
    choices = [heading[-1].choice for heading in second.column_headings]
    assert sorted(choices) == ["autoattack", "mdda/pgd", "momentum_pgd", "strongest"]
    assert not second.has_paper
    assert not any(cell.status == "missing" for line in second.cells for cell in line)
    versions = {
        (one.cell["defense"].startswith("mdda"), one.attack_variant["version"])
        for one in rows(name)
        if one.cell["threat"] == "adaptive" and "version" in one.attack_variant
    }
    assert versions == {(True, "rand"), (False, "standard")}


def test_jobs_and_how_the_command_line_narrows_them() -> None:
    config = composed("experiment=mdda/table2")
    assert len(planned(config)) == 7 * 4 * 2 + 7 + 7 + 4 * (3 * 2 + 1 + 1)
    assert len(rows("table2")) == len(planned(config)) - 2 * 4  # clean and CW, once for both eps
    small = planned(config, "eps=2/255", "defense=mdda")
    assert len(small) == 7 + 4
    assert {job["threat"] for job in planned(config, "threat=adaptive")} == {"adaptive"}
    transfer = planned(composed("experiment=mdda/table3"))
    assert len(transfer) == 4 * 4 + 4 * 3
    for job in transfer:
        assert ("model@threat.surrogate_model" in job) == (job["threat"] == "transfer")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_job_composes(name: str) -> None:
    from hydra_plugins.medrobust_sweeper.sweeper import covering

    config = composed(f"experiment=mdda/{name}")
    jobs = [[f"{key}={value}" for key, value in job.items()] for job in planned(config)]
    for job in covering(jobs):
        made = composed(f"experiment=mdda/{name}", *job)
        ours = "attack=momentum_pgd" in job  # the paper's attacks take 100 steps
        assert made.attack.get("steps", 100) == (50 if ours else 100)
        assert made.data.name == "isic2019"


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [("fig4", "bit depth (5 bits)", "MDDA (N = 5)"), ("fig6", "undefended", "MDDA (N = 3)")],
)
def test_confusion_figures_have_the_papers_panels(name: str, first: str, last: str) -> None:
    (figure,) = parse(plain_figure(composed(f"experiment=mdda/{name}")))
    (drawing,) = figure.draw(Source(tuple(rows(name)), {}))
    axes = [axes for axes in drawing.canvas.axes if axes.get_visible()]
    assert [one.get_title().split("\n")[0] for one in axes] == [first, "SR", "NRP", last]
    assert drawing.name == name
    assert all(cell.paper for line in table(name).cells for cell in line)


def test_figure_7_has_both_settings_and_the_papers_points() -> None:
    found = rows("fig7")
    figures = parse(plain_figure(composed("experiment=mdda/fig7")))
    source = Source(tuple(found), {})
    ((n,), (sigma2,), (clean,)) = (figure.draw(source) for figure in figures)
    assert (n.name, sigma2.name, clean.name) == ("fig7", "sigma2", "sigma2_clean")
    lines = {one.get_label(): one for one in n.canvas.axes[0].get_lines()}
    assert list(lines) == ["ε = 2/255", "ε = 6/255"]
    for line in lines.values():
        assert list(line.get_xdata()) == [1, 2, 3, 4, 5, 6, 7]
    (line,) = sigma2.canvas.axes[0].get_lines()
    assert list(line.get_xdata()) == [0.05, 0.075, 0.1, 0.125, 0.15, 0.175]
    (line,) = clean.canvas.axes[0].get_lines()
    assert len(line.get_xdata()) == 6
    printed = {
        cell.paper.line for cells in table("fig7", found).cells for cell in cells if cell.paper
    }
    mdda = [v for v in reference.load("mdda") if v.table == "table2" and v.defense == "mdda"]
    assert printed == {value.line for value in mdda}
