"""SMIA's tables on EAD 2019 compose, plan what they say, and find every number that is printed."""

import pytest

from medrobust.report.table import reference
from medrobust.report.table.pivot import build
from medrobust.report.table.reference import PaperValue
from medrobust.report.table.table import Table
from tests.experiment.paper_cells import composed, planned, row, table_config

COUNTS = {2: 30, 3: 30, 4: 10}
"""Numbers that the paper prints in each of these tables."""
JOBS = {2: 1 + 4 * 3, 3: 1 + 4 * 3, 4: 1 + 4}


def table(number: int) -> Table:
    config = composed(f"experiment=smia/table{number}")
    rows = [row(config, job, {"iou": 0.05, "map": 0.1}) for job in planned(config)]
    return build(rows, table_config(config))


def key(value: PaperValue) -> tuple[object, ...]:
    """What tells two numbers apart; the clean ones are printed again in every group."""
    budget = () if value.attack == "none" else (value.eps, value.steps)
    return (value.attack, *budget, value.attack_tokens, value.metric)


@pytest.mark.by_default("4")
@pytest.mark.parametrize("number", COUNTS)
def test_every_number_that_the_paper_prints_has_its_cell(number: int) -> None:
    printed = [v for v in reference.load("smia") if v.table == f"table{number}"]
    assert len(printed) == COUNTS[number]
    shown = table(number)
    cells = [cell for line in shown.cells for cell in line]
    found = [cell.paper for cell in cells if cell.paper]
    assert {key(value) for value in found} == {key(value) for value in printed}
    assert len(found) == len(cells) == 2 * JOBS[number]  # clean images stand there once
    assert all(cell.status == "done" for cell in cells)
    for cell in cells:
        assert cell.paper is not None
        assert cell.paper.metric == cell.metric
        assert cell.row is not None
        assert cell.paper.attack == cell.row.cell["attack"].rpartition("/")[2]


@pytest.mark.by_default("4")
@pytest.mark.parametrize("number", JOBS)
def test_the_sweep(number: int) -> None:
    jobs = planned(composed(f"experiment=smia/table{number}"))
    assert len(jobs) == JOBS[number]
    for job in jobs:
        made = composed(
            f"experiment=smia/table{number}", *(f"{name}={choice}" for name, choice in job.items())
        )
        assert (made.data.name, made.model.name, made.objective.name) == (
            *("ead2019", "retinanet", "retinanet"),
        )
        if job["attack"] == "none":
            continue
        assert made.attack.steps == int(job.get("attack.steps", 10))
        assert made.attack.eps == float(job.get("attack.eps", 0.01))


@pytest.mark.by_default("4")
@pytest.mark.parametrize("number", COUNTS)
def test_open_choices_are_told(number: int) -> None:
    notes = " ".join(map(str, table(number).notes))
    for word in ("multi-scale booster", "IoU 0.25", "whole perturbation", "seeded 8:1:1"):
        assert word in notes
