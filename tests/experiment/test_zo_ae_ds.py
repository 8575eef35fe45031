"""The poster's two experiments compose, plan what they say, and tell queries and certificates."""

from dataclasses import replace

import pytest
from hydra.utils import instantiate

from medrobust.defense.core.learned import learners
from medrobust.report.table.block import blocks
from medrobust.report.table.pivot import build
from tests.experiment.paper_cells import composed, planned, row, table_config

TASKS = ("classification", "segmentation")
ATTACKS = {"none", "fgsm", "pgd", "momentum_pgd", "strongest", "zo_ae_ds/ddn"}


@pytest.mark.by_default("segmentation")
@pytest.mark.parametrize("name", TASKS)
def test_both_blocks_have_their_cells(name: str) -> None:
    config = composed(f"experiment=zo_ae_ds/{name}")
    jobs = planned(config)
    assert {job["attack"] for job in jobs} == ATTACKS
    assert len(jobs) == 5 * 4 + 4 * 5
    metric = config.table.metric
    certified = {f"certified_accuracy@{radius}": 0.25 for radius in ("0.1", "0.25", "0.5")}
    asked = {metric: 0.5, "training_queries": 1234.0} | certified
    rows = [row(config, job, asked) for job in jobs]
    rows = [replace(made, metrics={metric: 0.5}) if _bare(made) else made for made in rows]
    first, second = blocks(build(rows, table_config(config)))
    assert (len(first.cells), len(second.cells)) == (5, 4)
    values = [cell.value for line in first.cells for cell in line]
    assert values.count(1234.0) == 4
    assert values.count(0.5) == 5 * 4
    assert values.count(0.25) == (3 * 4 if name == "classification" else 0)
    assert second.heading.startswith("Adaptive")


def _bare(made: object) -> bool:
    return made.cell["defense"] == "none"  # type: ignore[attr-defined]


@pytest.mark.by_default("classification")
@pytest.mark.parametrize("name", TASKS)
def test_every_defense_is_trained_by_the_command_that_the_file_names(name: str) -> None:
    config = composed(f"experiment=zo_ae_ds/{name}")
    for defense in sorted({job["defense"] for job in planned(config)} - {"none"}):
        made = composed(f"experiment=zo_ae_ds/{name}", f"defense={defense}")
        (learner,) = learners(instantiate(made.defense))
        trained = "denoised_smoothing" if learner.name == "ds" else learner.name
        trained = trained.replace("_cge", "/cge")
        alone = composed(f"experiment=zo_ae_ds/{name}", f"defense={trained}")
        (other,) = learners(instantiate(alone.defense))
        assert other.training_settings == learner.training_settings
        assert other.checkpoint == learner.checkpoint


def test_ddn_has_the_norm_of_the_other_attacks_budget() -> None:
    made = composed("experiment=zo_ae_ds/classification", "attack=zo_ae_ds/ddn", "eps=4/255")
    assert made.attack.eps == pytest.approx(4 / 255 * 64)


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (["defense=medrdf", "defense/denoiser=zo_ae_ds"], ["ZOAEDS"]),
        (["defense=denoised_smoothing", "defense/denoiser=gaussian"], []),
        (["defense=zo_ae_ds", "defense/estimator@defense.denoiser.estimator=cge"], ["ZOAEDS"]),
    ],
)
def test_denoisers_and_estimators_are_parts(words: list[str], kinds: list[str]) -> None:
    made = composed(*words)
    assert [type(part).__name__ for part in learners(instantiate(made.defense))] == kinds
    wider = composed("defense=zo_ds", "defense.sigma=0.5").defense
    assert (wider.sigma, wider.denoiser.sigma) == (0.5, 0.5)
