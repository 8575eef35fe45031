"""Names of choices: every config has one, and rows of other choices are told apart."""

from collections.abc import Callable
from pathlib import Path

import pytest

from medrobust.report.table.config import TableConfig
from medrobust.report.table.label import choice_levels, shared_name
from medrobust.report.table.name import NAMES, PARTS, named
from medrobust.report.table.pivot import build
from medrobust.result.row import Row

MakeRow = Callable[..., Row]
CONF = Path(__file__).parents[3] / "conf"
OF_PARTS = ("criterion", "loss", "target", "cushion", "denoiser", "estimator", "noise")
"""Folders of parts, which `attack/loss=…` or `defense/noise=…` choose."""


def choices(axis: str) -> set[str]:
    """Every choice of a group, without the parts (losses, denoisers) that choices are made of."""
    paths = (path.relative_to(CONF / axis) for path in (CONF / axis).rglob("*.yaml"))
    return {path.with_suffix("").as_posix() for path in paths if path.parts[0] not in OF_PARTS}


@pytest.mark.parametrize("axis", NAMES)
def test_every_choice_has_a_name(axis: str) -> None:
    skeletons = {"base"} if axis == "data" else set()  # base of the others, chosen by nobody
    assert set(NAMES[axis]) == choices(axis) - skeletons


@pytest.mark.parametrize("axis", NAMES)
def test_a_name_is_no_key(axis: str) -> None:
    for choice in NAMES[axis]:
        name = named(axis, choice, {})[0]
        assert name
        assert not set(name) & set("_[]{}/"), (choice, name)


def labels(rows: list[Row], axis: str = "attack", *merge: str) -> list[str]:
    return [level.label for level in choice_levels(rows, axis, merge)]


@pytest.mark.parametrize(
    ("axis", "choice", "settings", "name"),
    [
        ("attack", "pgd", {"steps": 20}, "PGD-20"),
        ("attack", "square", {"queries": 1000}, "Square (1000 queries)"),
        ("attack", "nes", {"queries": None}, "NES"),
        ("attack", "apgd_ce", {"steps": 100}, "APGD-CE"),
        ("attack", "external/torchattacks", {"arguments": {"attack": "t.PGD"}}, "torchattacks PGD"),
        ("attack", "none", {}, "clean"),
        ("defense", "none", {}, "undefended"),
        ("defense", "jpeg", {"quality": 75}, "JPEG (q = 75)"),
        ("defense", "randomized_smoothing", {"sigma": 0.25}, "randomized smoothing (σ = 0.25)"),
        ("defense", "kd", {"cushion": None}, "kernel density"),
        ("defense", "kd", {"cushion": {"class": "a.JPEG"}}, "kernel density + JPEG"),
        (
            "defense",
            "medrdf",
            {"noise": {"class": "a.SaltPepperNoise"}, "denoiser": {"class": "Median"}},
            "MedRDF (s.p. + median)",
        ),
        ("defense", "my/own_defense", {"strength": 3}, "my/own_defense"),
    ],
)
def test_a_name_states_settings(
    axis: str, choice: str, settings: dict, name: str, row: MakeRow
) -> None:
    made = row(0.5, **{axis: choice, "settings" if axis == "attack" else "filters": settings})
    assert labels([made], axis) == [name]
    assert shared_name([made], axis) == name


def test_what_differs_follows_the_name_unless_it_is_in_it(row: MakeRow) -> None:
    rows = [row(0.5, settings={"steps": n, "alpha": a}) for n, a in ((7, 1), (20, 1), (20, 2))]
    assert labels(rows) == ["PGD-7 alpha=1", "PGD-20 alpha=1", "PGD-20 alpha=2"]
    assert labels(rows, "attack", "attack.steps") == ["PGD alpha=1", "PGD alpha=1", "PGD alpha=2"]


def test_a_failed_row_has_the_name_of_finished_ones(row: MakeRow) -> None:
    rows = [row(0.5, settings={"steps": 20}), row(None, defense="jpeg")]
    assert labels(rows) == ["PGD-20", "PGD-20"]


def test_two_choices_of_one_name_keep_their_keys(row: MakeRow) -> None:
    rows = [row(0.5, attack=name, settings={"steps": 10}) for name in ("pgd", "smia/pgd", "bim")]
    assert labels(rows) == ["PGD-10 (pgd)", "PGD-10 (smia/pgd)", "BIM-10"]


def test_a_setting_on_an_axis_is_not_in_the_name(row: MakeRow) -> None:
    rows = [row(0.5, defense="jpeg", filters={"quality": quality}) for quality in (50, 75)]
    table = build(rows, TableConfig(rows=("defense", "defense.quality")))
    found = [[level.label for level in heading] for heading in table.row_headings]
    assert found == [["JPEG", "50"], ["JPEG", "75"]]


def test_parts_are_classes_of_the_package() -> None:
    source = "".join(
        path.read_text() for path in (CONF.parent / "src/medrobust/defense").rglob("*.py")
    )
    assert all(f"class {name}(" in source for name in PARTS)
