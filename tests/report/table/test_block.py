"""Blocks of a threat whose attacks do not all meet each defense."""

import itertools
from dataclasses import replace

import pytest

from medrobust.report.table.block import OWN, blocks
from medrobust.report.table.config import TableConfig
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
from medrobust.result.row import Row
from tests.report.conftest import make_row

DATA = ("dermamnist", "isic2019")
FEW = ("median", "jpeg")
ALL = (*FEW, "medrdf")
LAYOUT = TableConfig(rows=("data", "threat", "defense"), own_attacks=FEW, worst=False, clean=False)


def rows() -> list[Row]:
    """Adaptive: four attacks on the filters, two of which meet the vote too."""
    threats = {"oblivious": [(one, ALL) for one in ("bim", "pgd")]}
    threats["adaptive"] = [("bim", FEW), ("mim", FEW), ("pgd", ALL), ("fgsm", ALL)]
    return [
        make_row(0.5, data=data, threat=threat, attack=attack, defense=defense)
        for data in DATA
        for threat, attacks in threats.items()
        for attack, defenses in attacks
        for defense in defenses
    ]


def cells(table: Table) -> list[str]:
    found = [cell for line in table.cells for cell in line]
    return [cell.row.id if cell.row else "missing" for cell in found]


def test_attacks_on_some_defenses_have_a_block_of_their_own() -> None:
    first, second, third = blocks(build(rows(), LAYOUT))
    assert [len(block.column_headings) for block in (first, second, third)] == [2, 2, 2]
    assert [len(block.row_headings) for block in (first, second, third)] == [6, 4, 6]
    assert second.heading == f"{third.heading} · {OWN}"
    shown = [*cells(first), *cells(second), *cells(third)]
    assert sorted(shown) == sorted(row.id for row in rows())  # each once, none missing


def test_only_of_defenses_that_the_config_names() -> None:
    first, second = blocks(build(rows(), replace(LAYOUT, own_attacks=())))
    assert "missing" not in cells(first)
    assert cells(second).count("missing") == 4  # two attacks on the votes


@pytest.mark.parametrize("gap", [("medrdf", "pgd"), ("median", "mim"), ("median", "pgd")])
def test_a_cell_that_was_not_run_is_shown(gap: tuple[str, str]) -> None:
    lacking = (DATA[0], "adaptive", *gap)
    axes = ("data", "threat", "defense", "attack")
    kept = [row for row in rows() if tuple(row.cell[axis] for axis in axes) != lacking]
    shown = blocks(build(kept, LAYOUT))
    assert "missing" in itertools.chain.from_iterable(map(cells, shown))
