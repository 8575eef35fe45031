"""Medical Aegis' experiments compose, plan what they say, and find every number that is printed."""

from dataclasses import replace
from functools import cache

import pytest
from hydra.utils import instantiate

from medrobust.attack.pgd import PGD
from medrobust.attack.target.next_class import NextClass
from medrobust.report.table import reference
from medrobust.report.table.block import blocks
from medrobust.report.table.pivot import build
from medrobust.report.table.reference import PaperValue
from medrobust.report.table.table import Table
from medrobust.result.row import Row
from tests.experiment.paper_cells import composed, planned, row, table_config

COUNTS = {1: 62, 2: 80, 3: 80, 4: 32, 5: 55}
"""Numbers that the paper prints in each of its tables."""
METRICS = ("auroc_detection", "tpr_at_90_tnr", "undetected_success_rate", "auroc")
MEANS = ("feature_mean", "feature_mean_change", "feature_mean_share")
EXTRA = ("joint_pgd", "selective_pgd", "orthogonal_pgd")
"""Attacks that the paper does not have."""


def rows(number: int) -> list[Row]:
    """What the sweep would leave; without a detector, or an attack, nothing is detected."""
    config = composed(f"experiment=medical_aegis/table{number}")
    found = []
    for job in planned(config):
        bare = job["attack"] == "none"
        names = MEANS if number == 1 else METRICS
        made = row(config, job, {name: 0.5 for name in names if name == "auroc" or not bare})
        surrogate = "vgg16" if made.cell["threat"] == "transfer" else ""
        found.append(replace(made, cell=made.cell | {"surrogate": surrogate}))
    return found


@cache
def table(number: int) -> Table:
    return build(rows(number), table_config(composed(f"experiment=medical_aegis/table{number}")))


def key(value: PaperValue) -> tuple[object, ...]:
    """What tells two numbers of a table apart; a setting that is printed twice has one."""
    return (
        *(value.dataset, value.model, value.threat, value.surrogate, value.attack, value.eps),
        *(value.attack_tokens, value.defense, value.defense_tokens, value.metric),
    )


@pytest.mark.by_default("3")
@pytest.mark.parametrize("number", COUNTS)
def test_every_number_that_the_paper_prints_has_its_cell(number: int) -> None:
    printed = [v for v in reference.load("medical_aegis") if v.table == f"table{number}"]
    assert len(printed) == COUNTS[number]
    shown = table(number)
    cells = [cell.paper for line in shown.cells for cell in line if cell.paper]
    missed = {key(value) for value in printed} - {key(value) for value in cells}
    assert not missed, missed
    lines = [value.line for value in cells]
    assert len(lines) == len(set(lines))  # and no number two cells
    assert len(lines) == COUNTS[number] - (3 if number == 5 else 0)  # printed in both halves


@pytest.mark.by_default("3")
@pytest.mark.parametrize("number", COUNTS)
def test_open_choices_and_contradictions_are_told(number: int) -> None:
    notes = " ".join(map(str, table(number).notes))
    for word in {
        1: ("are lost", "-43.3 %", "step size"),
        2: ("step sizes", "all activation layers", "Splits"),
        3: ("8/256", "3,663", "89.5", "substitute"),
        4: ("97.5 and 97.7", "signs", "Splits"),
        5: ("97.5 and 97.7", "Model", "both halves"),
    }[number]:
        assert word in notes


def test_transfer_stands_in_a_block_of_its_own() -> None:
    parts = {part.heading.partition(":")[0]: part for part in blocks(table(3))}
    assert list(parts) == ["BPDA", "Adaptive", "Transfer"]
    first, second = parts["BPDA"], parts["Transfer"]
    assert len(first.cells) == len(second.cells) == 2 * 2 * 2
    assert second.heading.startswith("Transfer")
    assert "surrogate" in second.heading
    assert all(line[0].paper for line in second.cells)
    for part in parts.values():
        assert not any(cell.status == "missing" for line in part.cells for cell in line)
    for job in planned(composed("experiment=medical_aegis/table3", "model=vgg16")):
        if job["threat"] == "transfer" and job["model"] == "vgg16":
            assert job["threat.surrogate_seed"] == "1"  # a network other than the victim


@pytest.mark.by_default("4")
@pytest.mark.parametrize("number", [2, 4, 5])
def test_the_stronger_attacks_stand_beside_the_papers(number: int) -> None:
    config = composed(f"experiment=medical_aegis/table{number}")
    jobs = planned(config)
    detectors = {job["defense"] for job in jobs if job["attack"] != "none"}
    for attack in EXTRA if number == 4 else EXTRA[:1]:
        assert {job["defense"] for job in jobs if job["attack"] == attack} == detectors
    assert {job["threat"] for job in jobs} == {"adaptive", "adaptive/bpda"}
    for cell in (cell for line in table(number).cells for cell in line if cell.row):
        assert cell.paper is None or cell.row.cell["attack"] not in EXTRA


@pytest.mark.by_default("4")
@pytest.mark.parametrize("number", COUNTS)
def test_the_exact_protocol_stands_beside_the_paper_and_a_stronger_gradient_below(
    number: int,
) -> None:
    jobs = planned(composed(f"experiment=medical_aegis/table{number}"))
    smooth = [job for job in jobs if job["threat"] == "adaptive"]
    assert smooth
    behind_jpeg = ("jpeg", "medical_aegis")
    assert all(job["defense"] in behind_jpeg or job["defense/cushion"] == "jpeg" for job in smooth)
    for cell in (cell for line in table(number).cells for cell in line if cell.row):
        assert cell.paper is None or cell.row.cell["threat"] != "adaptive"


@pytest.mark.by_default("2")
@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_attacks_aim_at_the_other_class_within_the_papers_budget(number: int) -> None:
    name = f"experiment=medical_aegis/table{number}"
    jobs = {job["attack"]: job for job in planned(composed(name)) if job["attack"] != "none"}
    jobs.pop("strongest")  # which leads away from the true class
    for choice, job in jobs.items():
        words = [f"{key}={job[key]}" for key in job if key.partition(".")[0].startswith("attack")]
        attack = instantiate(composed(name, *words).attack)
        assert isinstance(attack.target, NextClass)
        if attack.norm == "linf":
            assert attack.eps == 16 / 256
        assert getattr(attack, "steps", None) == (None if choice == "fgsm" else 100)
        adaptive = {"aegis/wb", "aegis/wb_d", *EXTRA}
        assert attack.loss.evades == (choice in adaptive)
        if choice in adaptive | {"fea", "hfc/pgd"}:
            assert isinstance(attack, PGD)  # random start


def test_how_the_command_line_narrows_a_table() -> None:
    jobs = planned(composed("experiment=medical_aegis/table4"), "data=chest_xray", "model=resnet18")
    # Shield; Medical Aegis by BPDA, by the smooth gradient, and under the strongest attack.
    assert len(jobs) == 7 * 3 + 1
    assert {job["data"] for job in jobs} == {"chest_xray"}


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (("defense=medical_aegis", "defense/cushion=jpeg", "defense.cushion.quality=80"), 5),
        (("defense.taps=[features.6,features.13,features.20,features.27]",), 7),
        (("defense=medical_aegis", "defense.taps=[features.6]"), 1),
        (("defense=medical_aegis", "defense/cushion=bit_clipping"), 2),
        (("defense=shield",), 1),
    ],
)
def test_parts_of_table_5(words: tuple[str, ...], lines: int) -> None:
    jobs = planned(composed("experiment=medical_aegis/table5"), *words)
    shown = [{key: v for key, v in job.items() if key.startswith("defense")} for job in jobs]
    attacked = [one for one, job in zip(shown, jobs, strict=True) if job["attack"] != "none"]
    assert len(attacked) >= 6 * lines
    assert len({tuple(one.items()) for one in attacked}) == lines
    for word in words:
        key, _, value = word.partition("=")
        assert all(one[key] == value for one in attacked)


@pytest.mark.slow
@pytest.mark.parametrize("number", COUNTS)
def test_each_job_composes(number: int) -> None:
    from hydra_plugins.medrobust_sweeper.sweeper import covering

    name = f"experiment=medical_aegis/table{number}"
    jobs = [[f"{key}={value}" for key, value in job.items()] for job in planned(composed(name))]
    for job in covering(jobs):
        made = composed(name, *job)
        assert made.data.name in ("aptos2019_binary", "chest_xray")
        target = made.attack.get("target")
        assert target is None or target["_target_"].endswith("NextClass")


@pytest.mark.by_default("shield")
@pytest.mark.parametrize("defense", ["shield", "medical_aegis", "dnn"])
def test_taps_and_cushions_have_checkpoints_of_their_own(defense: str) -> None:
    paths = set()
    tvm = "defense/cushion=tv_minimization"
    for words in ((), ("model=vgg16",), (tvm,), ("defense.taps=[layer1.0]",)):
        made = composed("data=chest_xray", f"defense={defense}", *words)
        paths.add(made.defense.checkpoint)
        assert made.defense.taps[0] in ("layer1.0", "features.6")
    assert len(paths) == 4
