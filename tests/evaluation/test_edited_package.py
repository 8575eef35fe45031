"""The package itself is edited between runs: what each run says, beside one with nothing stored."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medrobust.result.row import Row
from medrobust.result.store import RowStore

ROOT = Path(__file__).parents[2]
WORDS = ["data=dermamnist", "data.phantom=true", "data.phantom_n=140", "model=resnet18"]
WORDS += ["trainer=cpu", "logger=none"]
PGD, BASE = "attack/pgd.py", "attack/core/base.py"
METRIC = "metric/classification.py"


class Checkout:
    """A copy of the package, a victim, and the rows that runs of the copy leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("src", "conf"):
            shutil.copytree(
                ROOT / name,
                folder / name,
                ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"),
            )
        for name in ("train.py", "evaluate.py"):
            shutil.copy(ROOT / name, folder)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / "src/medrobust" / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name} has no single {old!r}"
        path.write_text(text.replace(old, new))

    def call(self, script: str, *words: str) -> None:
        done = subprocess.run(
            [sys.executable, script, *words, *WORDS],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def run(self, *words: str, outputs: str = "outputs") -> dict[str, tuple[str, Row]]:
        """Evaluate two attacks in one sweep: attack -> what was said, and its row."""
        places = [f"paths.rows={outputs}/rows", f"paths.cache={outputs}/cache"]
        sweep = "hydra.sweep.dir=sweep"
        self.call("evaluate.py", "-m", "attack=fgsm,pgd", "defense=none", sweep, *places, *words)
        found = {}
        for path in self.folder.glob("sweep/*/cell.json"):
            note = json.loads(path.read_text())
            row = RowStore(note["rows"]).get(note["row"])
            assert row is not None
            found[row.cell["attack"]] = (note["status"], row)
        return found

    @property
    def flagged(self) -> bool:
        return "made by other code" in (self.folder / "sweep/table.md").read_text()


def said(found: dict[str, tuple[str, Row]]) -> dict[str, str]:
    return {attack: status for attack, (status, _) in found.items()}


def metrics(found: dict[str, tuple[str, Row]]) -> dict[str, dict[str, float]]:
    return {attack: row.metrics for attack, (_, row) in found.items()}


def ids(found: dict[str, tuple[str, Row]]) -> dict[str, str]:
    return {attack: row.id for attack, (_, row) in found.items()}


@pytest.mark.slow
def test_a_number_is_what_the_edited_package_computes(tmp_path: Path) -> None:
    here = Checkout(tmp_path)
    here.call("train.py", "trainer.max_epochs=2", "progress_bar=false")
    first = here.run()
    assert said(first) == {"fgsm": "done", "pgd": "done"}

    here.edit(BASE, "class AttackError", "# a comment\n\n\nclass AttackError")
    again = here.run()
    assert said(again) == {"fgsm": "skipped", "pgd": "skipped"}
    assert ids(again) == ids(first)
    assert not here.flagged

    # A class: its rows are new ones, and every other row was made by other code.
    here.edit(PGD, "return min(self.eps, 2.5 * self.eps", "return min(self.eps, 0.25 * self.eps")
    edited = here.run()
    assert said(edited) == {"fgsm": "skipped", "pgd": "done"}
    assert ids(edited)["pgd"] != ids(first)["pgd"]
    assert here.flagged
    fresh = here.run(outputs="fresh1")
    assert metrics(edited) == metrics(fresh)
    renewed = here.run("rerun=stale")
    assert said(renewed) == {"fgsm": "done", "pgd": "skipped"}
    assert not here.flagged
    assert metrics(renewed) == metrics(fresh)

    # A metric: no identity has it, so rows are flagged, then renewed from the same sets.
    here.edit(METRIC, '"accuracy": right,', '"accuracy": 0 * right,')
    shown = here.run()
    assert said(shown) == {"fgsm": "skipped", "pgd": "skipped"}
    assert here.flagged
    rerun = here.run("rerun=true")
    assert said(rerun) == {"fgsm": "done", "pgd": "done"}
    assert {found["accuracy"] for found in metrics(rerun).values()} == {0.0}
    assert metrics(rerun) == metrics(here.run(outputs="fresh2"))
    assert said(here.run("rerun=stale")) == {"fgsm": "skipped", "pgd": "skipped"}
    assert not here.flagged
