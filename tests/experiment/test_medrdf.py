"""MedRDF's experiments compose, plan what they say, and find every number that the paper prints."""

import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from medrobust.report.callback import plain_figure
from medrobust.report.figure.core.kinds import parse
from medrobust.report.table import reference
from medrobust.report.table.block import blocks
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
from medrobust.result.row import Row
from tests.experiment.paper_cells import composed, experiments, planned, row, table_config

COUNTS = {1: 30, 2: 40, 3: 216, 4: 216, 5: 216, 6: 14, 7: 48, 8: 48, 9: 30, 10: 18, 11: 144}
"""Numbers that the paper prints in each of its tables."""

SHARES = ("correct_robust", "correct_not_robust", "incorrect_not_robust", "incorrect_robust")
FILTERS = ("gaussian_smoothing", "median")
VOTED = {"accuracy": 0.5} | {f"rm_{name}": 0.25 for name in SHARES}


def rows(number: int) -> list[Row]:
    """What the sweep would leave; only votes have a robust metric."""
    config = composed(f"experiment=medrdf/table{number}")
    found = []
    for job in planned(config):
        made = row(config, job, {"accuracy": 0.5} if job.get("defense") == "none" else VOTED)
        found.append(replace(made, seconds={"per_image": 0.5, "training": 3600.0}))
    return found


@cache
def table(number: int) -> Table:
    return build(rows(number), table_config(composed(f"experiment=medrdf/table{number}")))


# Tables III to V differ in the network, VII and VIII too: one of each here, the rest are slow.
_NUMBERS = [pytest.param(n, marks=[pytest.mark.slow] * (n in (4, 5, 8))) for n in COUNTS]


@pytest.mark.by_default("10", "9")
@pytest.mark.parametrize("number", _NUMBERS)
def test_every_number_that_the_paper_prints_has_its_cell(number: int) -> None:
    printed = {v.line: v for v in reference.load("medrdf") if v.table == f"table{number}"}
    assert len(printed) == COUNTS[number]
    shown = table(number)
    matched = [cell.paper.line for line in shown.cells for cell in line if cell.paper]
    missed = [value for line, value in printed.items() if line not in matched]
    assert not missed, f"{len(missed)} of {len(printed)}: {missed[:5]}"
    assert sorted(matched) == sorted(printed)  # each once
    if number == 6:  # no attack, so no block of another attacker
        return
    first, *others = blocks(shown)
    assert first.has_paper
    assert len(others) == (2 if number in (3, 4, 5) else 1)
    for block in others:
        assert block.heading.startswith("Black box" if number in (7, 8) else "Adaptive")
    for cell in (cell for block in others for line in block.cells for cell in line if cell.paper):
        assert cell.row
        assert cell.row.cell["defense"] in FILTERS
    for block in (first, *others):
        assert not any(cell.status == "missing" for line in block.cells for cell in line)


@pytest.mark.parametrize(
    ("number", "threat", "attacks"),
    [(3, "adaptive", 8), pytest.param(7, "blackbox", 2, marks=pytest.mark.slow)],
)
def test_filters_alone_are_compared_under_attacks_through_them(
    number: int, threat: str, attacks: int
) -> None:
    cells = [cell for line in table(number).cells for cell in line if cell.row and cell.paper]
    rows = [cell.row.cell for cell in cells if cell.row and cell.row.cell["defense"] in FILTERS]
    attacked = [cell for cell in rows if cell["attack"] != "none"]
    assert {cell["threat"] for cell in attacked} == {threat}
    assert len(attacked) == 2 * 2 * attacks
    assert all(cell["threat"] == "oblivious" for cell in rows if cell["attack"] == "none")


@pytest.mark.parametrize("number", [pytest.param(n, marks=pytest.mark.slow) for n in (3, 4, 5)])
def test_strong_noise_has_the_papers_numbers_of_its_votes(number: int) -> None:
    config = composed(f"experiment=medrdf/strong_noise/table{number}")
    found = [row(config, job, VOTED) for job in planned(config)]
    deviations = {
        noise.get("sigma") or noise["peak"] ** -0.5
        for noise in (one.defense_variant["noise"] for one in found)
    }
    assert sorted(deviations) == pytest.approx([math.sqrt(0.1)] * 2, rel=1e-3)  # rounded, and not
    cells = [cell for line in build(found, table_config(config)).cells for cell in line]
    papers = [cell.paper for cell in cells if cell.paper]
    wanted = {
        value.line
        for value in reference.load("medrdf")
        if value.table == f"table{number}"
        and {"noise=gaussian", "noise=poisson"} & {*value.defense_tokens}
    }
    assert sorted(paper.line for paper in papers) == sorted(wanted)
    assert len(wanted) == 2 * 6 * 9


def test_victims_of_other_trainings_stand_in_other_places() -> None:
    config = composed("experiment=medrdf/training")
    jobs = planned(config)
    words = dict.fromkeys(job["victim_training"] for job in jobs)
    assert len(jobs) == len(words) * (2 + 9 * 4)
    made = [composed("experiment=medrdf/training", f"victim_training={word}") for word in words]
    assert [one.victim_training["trainer.max_epochs"] for one in made] == [4, 8, 15, 30, 60]
    assert len({one.victim_path for one in made}) == len(made)
    assert {one.train for one in made} == {"missing"}
    votes = [job for job in jobs if job["defense"] == "medrdf"]
    assert {job["defense.alpha"] for job in votes} == {"1"}


def test_columns_of_steps_have_the_papers_attacks() -> None:
    config = composed("experiment=medrdf/table3")
    jobs = [job for job in planned(config) if job["threat"] == "oblivious"]
    found: dict[str, list[dict[str, Any]]] = {}
    for job in jobs:
        settings = row(config, job, {"accuracy": 0.5}).attack_variant
        name = " ".join([job["attack"], *([str(settings["steps"])] if "steps" in settings else [])])
        found.setdefault(name, []).append(settings)
    steps = [("bim", n) for n in (1, 2, 5, 7)] + [("pgd", n) for n in (7, 20, 100)]
    assert list(found) == ["none", *(f"{name} {n}" for name, n in steps), "cw_linf 30"]
    for name, made in found.items():
        assert len(made) == 2 * 12
        if name.startswith(("pgd", "cw_linf")):
            assert {settings["step_size"] for settings in made} == {0.003}
        assert {settings["eps"] for settings in made} == {None if name == "none" else "8/255"}
        assert not any(settings.get("early_stop") for settings in made)
    heads = [" ".join(level.label for level in heading) for heading in table(3).column_headings]
    labels = (f"{name.upper()}-{n}" for name, n in steps)
    rest = ("C&W (L∞)", "Momentum PGD-50", "strongest (standard)", "AutoAttack")
    assert heads == ["clean", *labels, *rest]


def test_random_defenses_meet_autoattacks_version_for_them() -> None:
    for number in (2, 3, 9, 10, 11):
        config = composed(f"experiment=medrdf/table{number}")
        fixed = config.hydra.runtime.choices["defense"]
        for job in planned(config):
            if job["attack"] == "autoattack":
                noisy = job.get("defense", fixed).startswith(("medrdf", "random_"))
                assert job.get("attack.version", "standard") == ("rand" if noisy else "standard")
                assert job["threat"] == "adaptive"


def test_how_the_command_line_narrows_a_table() -> None:
    config = composed("experiment=medrdf/table4")
    assert len(planned(config)) == 2 * (9 * 12 + 4 * 12 + 7 * 2)  # filters: seven more, adaptive
    half = planned(config, "data=dermamnist", "threat=oblivious")
    assert len(half) == 9 * 12
    assert {job["data"] for job in half} == {"dermamnist"}
    one = ("defense=medrdf", "defense/noise=gaussian", "defense/denoiser=median")
    assert len(planned(config, "data=dermamnist", "threat=oblivious", *one)) == 9
    assert len(planned(config, "data=dermamnist", "attack=pgd", "attack.steps=100", *one)) == 2
    eleven = composed("experiment=medrdf/table11")
    small = planned(eleven, "data=dermamnist", "model=resnet18", "objective=trades")
    assert {job["defense"] for job in small} == {"none"}
    assert len(small) == 5 + 4
    assert len(planned(composed("experiment=medrdf/table2"), "copies=20")) == 2 * (4 + 4)


@pytest.mark.by_default("medrdf/table9")
@pytest.mark.parametrize("name", [n for n in experiments() if n.startswith("medrdf/")])
def test_the_first_and_the_last_job_compose(name: str) -> None:
    jobs = planned(composed(f"experiment={name}"))
    for job in (jobs[0], jobs[-1]):  # the choices between them are composed for their rows above
        made = composed(f"experiment={name}", *(f"{key}={value}" for key, value in job.items()))
        assert made.data.name in ("covid_radiography", "dermamnist")
        assert made.seed == 0


@pytest.mark.parametrize(
    ("name", "kinds", "taps"),
    [
        ("fig3", ["Attention", "Attention"], ["attention3.map", "attention4.map"]),
        ("fig4", ["Features"], ["layer1.1"]),
        ("fig5", ["RobustMetric"], []),
    ],
)
def test_figures_draw_what_is_recorded(name: str, kinds: list[str], taps: list[str]) -> None:
    config = composed(f"experiment=medrdf/{name}")
    figures = parse(plain_figure(config))
    assert [type(figure).__name__ for figure in figures] == kinds
    assert list(config.maps.taps) == taps
    assert {getattr(figure, "tap", None) for figure in figures} <= {*taps, None}
    assert figures[0].name == name
