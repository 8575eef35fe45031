from pathlib import Path

import pytest

from tests.mutants.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]


def test_there_are_at_least_forty() -> None:
    assert len(set(MUTANTS)) >= 40


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: f"{one.file}: {one.old}")
def test_every_mistake_can_be_made(mutant: Mutant) -> None:
    text = (ROOT / "src" / "medrobust" / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1
    compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")
    assert mutant.tests
    assert all((ROOT / "tests" / name).exists() for name in mutant.tests)
