"""SMIA's experiments compose, plan what they say, and find every number that the paper prints."""

import pytest

from medrobust.evaluation.record.iterates import IteratesRequest
from medrobust.report.callback import plain_figure
from medrobust.report.figure.core.kinds import parse
from medrobust.report.figure.perturbations import Perturbations
from medrobust.report.table import reference
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
from medrobust.result.row import Row
from tests.experiment.paper_cells import composed, planned, row, table_config

COUNTS = {1: 21, 5: 7, 6: 51}
"""Numbers that the paper prints in each of its tables."""

GRADED = {"aptos2019", "kaggle_dr"}


def measured(job: dict[str, str]) -> dict[str, float]:
    """What a row of a job has: masks have no accuracy, clean images no perturbation."""
    dense = job.get("data", "mnist") not in {*GRADED, "mnist"}
    found = {"mean_accuracy": 0.5, "jaccard": 0.6} if dense else {"accuracy": 0.5, "fpr_macro": 0.2}
    if job.get("data") == "ead2019":
        found = {"iou": 0.1, "map": 0.2}
    if not dense and job["attack"] != "none":
        found |= {"accuracy_decrease_relative": 0.1, "attack_success_rate": 0.4}
    if job["attack"] != "none":
        found["perturbation_variance"] = 0.05
        if job["attack"] != "smia/deepfool":
            found["perturbation_cosine"] = 0.7
    return found


def rows(name: str) -> list[Row]:
    config = composed(f"experiment=smia/{name}")
    return [row(config, job, measured(job)) for job in planned(config)]


def table(name: str) -> Table:
    return build(rows(name), table_config(composed(f"experiment=smia/{name}")))


@pytest.mark.by_default("5")
@pytest.mark.parametrize("number", COUNTS)
def test_every_number_that_the_paper_prints_has_its_cell(number: int) -> None:
    printed = {
        value.line: value for value in reference.load("smia") if value.table == f"table{number}"
    }
    assert len(printed) == COUNTS[number]
    cells = [cell for line in table(f"table{number}").cells for cell in line]
    matched = [cell.paper.line for cell in cells if cell.paper]
    missed = [value for line, value in printed.items() if line not in matched]
    assert not missed, f"{len(missed)} of {len(printed)}: {missed[:5]}"
    assert sorted(matched) == sorted(printed)  # each once


def test_each_set_has_its_network_its_eps_and_its_rivals() -> None:
    jobs = planned(composed("experiment=smia/table6"))
    assert len(jobs) == 2 * 5 + 2 * 5
    dense = {"covid_ct": ("unet", 0.05), "ead2019": ("retinanet", 0.01)}
    for job in jobs:
        graded = job["data"] in GRADED
        model, eps = dense.get(job["data"], ("resnet50_gcn", 5e-5))
        assert (job["model"], float(job["eps"])) == (model, eps)
        assert ("data.target" in job) == (job["data"] == "covid_ct")
        assert job["attack"] != ("smia/dag" if graded else "smia/deepfool")
    small = planned(composed("experiment=smia/table6"), "data=kaggle_dr", "model=resnet18_gcn")
    assert {(job["data"], job["model"]) for job in small} == {("kaggle_dr", "resnet18_gcn")}
    assert len(small) == 5


@pytest.mark.parametrize(
    ("data", "columns"),
    [
        ("covid_ct", ["mean accuracy", "Jaccard", "variance"]),
        ("kaggle_dr", ["accuracy", "variance", "FPR"]),
    ],
)
def test_one_set_alone_has_the_columns_of_its_task(data: str, columns: list[str]) -> None:
    config = composed("experiment=smia/table6")
    jobs = planned(config, f"data={data}")
    shown = build([row(config, job, measured(job)) for job in jobs], table_config(config))
    assert [heading[-1].label for heading in shown.column_headings] == columns


def test_the_papers_contradictions_stand_below_its_tables() -> None:
    for name, words in {"table1": "81.82", "table6": "81.28 8.14 2.5e-7 27.80"}.items():
        notes = " ".join(table(name).notes)
        assert all(word in notes for word in words.split())


@pytest.mark.slow
def test_the_sweeps_of_alpha_and_kernel() -> None:
    assert len(planned(composed("experiment=smia/alpha"))) == 7 * 2
    kernels = planned(composed("experiment=smia/kernel"))
    assert len(kernels) == 3 * 3
    assert {job["attack.alpha"] for job in kernels} == {"1"}
    shown = table("kernel")
    assert len(shown.row_headings) == 9
    assert not any(cell.status == "missing" for line in shown.cells for cell in line)


@pytest.mark.by_default("alpha")
@pytest.mark.parametrize("name", ["table1", "table5", "table6", "alpha", "kernel"])
def test_the_first_and_the_last_job_compose(name: str) -> None:
    jobs = planned(composed(f"experiment=smia/{name}"))
    for job in (jobs[0], jobs[-1]):  # the choices between them are composed for their rows above
        words = [f"{key}={value}" for key, value in job.items()]
        made = composed(f"experiment=smia/{name}", *words)
        assert made.perturbation is True
        assert made.seed == 0
    assert made.model.get("small_stem", False) == (name == "table5")
    assert made.attack.steps == 10


def test_figure_2_draws_what_is_recorded() -> None:
    config = composed("experiment=smia/fig2")
    (figure,) = parse(plain_figure(config))
    assert isinstance(figure, Perturbations)
    assert figure.name == "fig2"
    request = IteratesRequest.parse(config.iterates)
    assert request is not None
    assert request.at == (1, 4, 9)
    assert [job["attack"] for job in planned(config)] == ["smia/dev", "smia/smia"]
