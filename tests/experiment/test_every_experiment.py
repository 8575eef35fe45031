"""Every experiment runs to its end on generated images: trained, attacked, defended, reported."""

import csv
from pathlib import Path

import pytest

from medrobust.report.sweep import collect
from medrobust.report.write import FORMATS
from medrobust.result.row import Row
from tests.experiment.paper_cells import experiments
from tests.experiment.smallest import run

SMALL = ("data.phantom_n=100", "data.size=32", "copies=2")
WHITE = "hfc/pgd,aegis/wb,joint_pgd"
FEW = "none,pgd,cw_linf,autoattack"
WORDS = {
    "defenses": (*SMALL, "defense=none,jpeg,random_resize_pad,mdda"),
    "demo": ("data.phantom_n=140", "copies=2"),
    "medical_aegis/table3": (*SMALL, "data=chest_xray"),
    # Without FEA, which needs images of every class that the victim knows: these know one.
    "medical_aegis/table4": (*SMALL, "data=chest_xray", f"attack={WHITE},aegis/wb_d"),
    "medical_aegis/table5": (*SMALL, f"attack=none,{WHITE},pgd"),
    # Tables that differ in the network take one data set each, and the later ones fewer attacks.
    "medrdf/strong_noise/table3": (*SMALL, "data=dermamnist", "attack=none,pgd"),
    "medrdf/strong_noise/table4": (*SMALL, "data=covid_radiography", "attack=none,pgd"),
    "medrdf/strong_noise/table5": (*SMALL, "data=dermamnist", "attack=none,pgd"),
    "medrdf/table2": (*SMALL[:2], "copies=2,3", "data=dermamnist"),
    "medrdf/table3": (*SMALL, "data=dermamnist"),
    "medrdf/table4": (*SMALL, "data=covid_radiography", f"attack={FEW}"),
    "medrdf/table5": (*SMALL, "data=dermamnist", f"attack={FEW}"),
    "medrdf/table6": SMALL[:2],  # its one copy is no vote
    "medrdf/table7": (*SMALL, "data=dermamnist"),
    "medrdf/table8": (*SMALL, "data=covid_radiography", "attack=none,rays"),
    "medrdf/table11": (*SMALL, "data=dermamnist", "model=resnet18"),
    "medrdf/training": (
        *(*SMALL, "data.limit_train=16", "data.limit_val=8"),
        *("attack=none,pgd", "defense=medrdf", "defense/denoiser=median"),
        "victim_training={trainer.max_epochs:1},{trainer.max_epochs:2,trainer.check_val_every_n_epoch:2}",
    ),
    # A vote per pixel needs 21 copies to decide any of 32 x 32.
    "segmentation/covid_ct": (*SMALL[:2], "copies=24"),
    "segmentation/kvasir": (*SMALL[:2], "copies=24"),
    "segmentation/rm_map": (*SMALL[:2], "copies=24"),
    "smia/fig2": (*SMALL, "iterates.at=[1,2]"),
}
"""Overrides that make an experiment small; those that are not named have `SMALL`."""


EACH = [
    pytest.param(name, marks=pytest.mark.xdist_group(name.partition("/")[0]))
    for name in experiments()
]
"""A paper's experiments run in one process, and train their victims once."""


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory):
    """Folder and finished trainings of each paper, whose experiments share victims."""
    made: dict[str, tuple[Path, set]] = {}

    def of(name: str) -> tuple[Path, set]:
        paper = name.partition("/")[0]
        if paper not in made:
            made[paper] = (tmp_path_factory.mktemp(paper), set())
        return made[paper]

    return of


def check(row: Row) -> None:
    """Check the metrics that a row has by its defense."""
    defense, metrics = row.cell["defense"], row.metrics
    if defense.startswith("zo_"):
        assert metrics["training_queries"] > 0
        assert ("certified_accuracy@0.25" in metrics) is ("accuracy" in metrics)
    if defense == "medrdf_seg":
        assert 0 <= metrics["abstention_rate"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_to_its_table_its_figures_and_its_page(name: str, roots, monkeypatch) -> None:
    root, trained = roots(name)
    status = run(monkeypatch, root, name, WORDS.get(name, SMALL), trained)
    folder = max((root / "outputs/sweeps").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    sweep = collect(folder)
    assert sweep.problems == ()
    assert status == 0
    assert {row.status for row in sweep.rows} == {"done"}
    assert all(row.phantom for row in sweep.rows)
    for row in sweep.rows:
        check(row)
    for kind in FORMATS:
        assert (folder / ("report.html" if kind == "html" else f"table.{kind}")).stat().st_size
    with (folder / "table.csv").open(newline="") as file:
        assert {line["row_id"] for line in csv.DictReader(file)} >= {row.id for row in sweep.rows}
    for figure in sweep.figures:
        assert list((folder / "figures").glob(f"{figure.name}*.png"))
        assert list((folder / "figures").glob(f"{figure.name}*.pdf"))
