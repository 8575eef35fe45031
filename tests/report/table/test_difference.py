"""Tests between the defenses of a table: which cells are held against which."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from medrobust.metric.paired import holm
from medrobust.report.render import tidy
from medrobust.report.table.config import TableConfig
from medrobust.report.table.difference import differences
from medrobust.report.table.pivot import build
from medrobust.report.table.scores import Scores
from medrobust.report.table.table import Table
from medrobust.result.per_image import PerImage
from medrobust.result.row import Row

MakeRow = Callable[..., Row]
LABELS = {"undefended": "none", "JPEG": "jpeg", "median": "median", "clean": "none", "PGD": "pgd"}
IDS = tuple(f"set/{i}" for i in range(60))


@pytest.fixture
def right() -> dict[tuple[str, str], np.ndarray]:
    generator = np.random.default_rng(0)
    shares = {"none": 0.1, "jpeg": 0.5, "median": 0.55}
    return {
        (attack, defense): (generator.random(60) < share + 0.3 * (attack == "none")).astype(float)
        for attack in ("none", "pgd")
        for defense, share in shares.items()
    }


def whole(row: MakeRow, right: dict[tuple[str, str], np.ndarray], **more: str) -> Table:
    rows, records = [], {}
    for (attack, defense), values in right.items():
        made = row(values.mean(), attack=attack, defense=defense)
        rows.append(made)
        records[made.id] = PerImage(IDS, {"correct": values}, random=False)
    config = TableConfig.parse({"rows": ["defense"], "columns": ["attack"]} | more)
    table = build(rows, config, lambda one: records.get(one.id))
    found = differences(table, Scores(config.metric, lambda one: records.get(one.id)))
    return Table(**{**vars(table), "differences": found})


def test_each_two_defenses_under_the_same_attack(row: MakeRow, right) -> None:
    table = whole(row, right)
    found = {
        tuple(LABELS[text] for text in (one.column, one.line, one.other)): one
        for one in table.differences
    }
    pairs = (("none", "jpeg"), ("none", "median"), ("jpeg", "median"))
    assert set(found) == {(attack, *pair) for attack in ("none", "pgd") for pair in pairs}
    plain = []
    for (attack, one, other), test in found.items():
        first, second = right[attack, one], right[attack, other]
        b, c = int((first > second).sum()), int((first < second).sum())
        assert (test.only_first, test.only_second) == (b, c)
        assert test.difference == pytest.approx(first.mean() - second.mean())
        plain.append(binomtest(min(b, c), b + c).pvalue if b + c else 1.0)
        assert test.p == pytest.approx(plain[-1])
    assert [one.p_corrected for one in table.differences] == pytest.approx(holm(plain))


def test_the_table_has_the_one_against_no_defense(row: MakeRow, right) -> None:
    table = whole(row, right)
    lines = {(line["column"], line["row"]): line["p_undefended"] for line in tidy.records(table)}
    for one in table.differences:
        if one.line == "undefended":
            assert lines[one.column, one.other] == one.p_corrected
    assert lines["PGD", "undefended"] is None
    assert "p_undefended" in tidy.render(table).split("\n")[0]


def test_clean_images_are_tested_once(row: MakeRow, right) -> None:
    rows = [
        row(values.mean(), attack=attack, defense=defense, threat=threat)
        for threat in ("oblivious", "adaptive")
        for (attack, defense), values in right.items()
    ]
    records = {
        one.id: PerImage(IDS, {"correct": right[one.cell["attack"], one.cell["defense"]]})
        for one in rows
    }
    table = build(rows, TableConfig.parse({"rows": ["threat", "defense"], "columns": ["attack"]}))
    found = differences(table, Scores("accuracy", lambda one: records[one.id]))
    assert len(found) == 3 + 2 * 3
    assert [one.column for one in found].count("clean") == 3


def test_patients_are_exchanged_whole(row: MakeRow, right) -> None:
    made = [row(0.5, attack="pgd", defense=name) for name in ("none", "jpeg")]
    group = np.arange(60) // 3
    columns = [{"correct": right["pgd", one.cell["defense"]]} for one in made]
    columns[1]["group"] = group  # a row of an earlier version does not know them
    records = {one.id: PerImage(IDS, own) for one, own in zip(made, columns, strict=True)}
    config = TableConfig.parse({"rows": ["defense"], "columns": ["attack"]})
    (found,) = differences(build(made, config), Scores("accuracy", lambda one: records[one.id]))
    first, second = right["pgd", "none"], right["pgd", "jpeg"]
    expected = permutation_test(
        (np.bincount(group, first), np.bincount(group, second)),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        n_resamples=4000,
        rng=np.random.default_rng(1),
    )
    assert found.test == "permutation of groups"
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    assert found.only_first == (first > second).sum()


def test_other_images_or_metrics_are_not_tested(row: MakeRow, right) -> None:
    assert not whole(row, right, metric="balanced_accuracy").differences
    made = [row(0.5, defense=name) for name in ("jpeg", "median")]
    records = {
        made[0].id: PerImage(IDS, {"correct": np.ones(60)}),
        made[1].id: PerImage(IDS[::-1], {"correct": np.zeros(60)}),
    }
    config = TableConfig.parse({"rows": ["defense"], "columns": ["attack"]})
    table = build(made, config)
    assert not differences(table, Scores("accuracy", lambda one: records[one.id]))
