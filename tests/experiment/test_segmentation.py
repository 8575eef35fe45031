"""The experiments on masks: what they plan, and one of them end to end on generated images."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import instantiate

from medrobust.attack.ddn import DDN
from medrobust.attack.objective.dice import Dice
from tests.experiment.paper_cells import composed, planned

ROOT = Path(__file__).parents[2]
ATTACKS = ("none", "fgsm", "pgd", "segmentation/pgd_dice", "segmentation/ddn", "smia", "dag")
DEFENSES = ("none", "mdda/n3", "tv_minimization", "medrdf_seg")


@pytest.mark.parametrize("name", ["kvasir", "covid_ct"])
def test_every_attack_meets_every_defense_and_one_knows_them(name: str) -> None:
    config = composed(f"experiment=segmentation/{name}")
    assert (config.model.name, config.objective.name) == ("unet", "dice_ce")
    jobs = [(job["threat"], job["attack"], job["defense"]) for job in planned(config)]
    expected = [("oblivious", attack, defense) for attack in ATTACKS for defense in DEFENSES]
    expected += [("adaptive", "pgd", defense) for defense in DEFENSES[1:]]
    assert sorted(jobs) == sorted(expected)


def test_variants_are_what_they_say() -> None:
    common = ("experiment=segmentation/kvasir", "data.size=96")
    pgd = instantiate(composed(*common, "attack=segmentation/pgd_dice").attack)
    assert isinstance(pgd.objective, Dice)
    ddn = instantiate(composed(*common, "attack=segmentation/ddn").attack)
    assert isinstance(ddn, DDN)
    assert ddn.eps == pytest.approx(8 / 255 * (3 * 96 * 96) ** 0.5)
    words = ("+attack/success=jaccard_below", "attack.success.level=0.3")
    assert instantiate(composed(*common, "attack=pgd", *words).attack).success.level == 0.3


def test_the_map_of_votes_draws_what_it_records() -> None:
    config = composed("experiment=segmentation/rm_map")
    jobs = planned(config)
    assert {job["defense"] for job in jobs} == {"medrdf_seg"}
    assert [job["attack"] for job in jobs] == ["fgsm", "pgd", "smia"]
    assert (config.figure.kind, config.maps.images) == ("rm_map", 4)
    assert (
        composed("experiment=segmentation/kvasir").figure is None
    )  # narrowed, it has no such cells


@pytest.mark.slow
def test_a_table_on_generated_images(tmp_path: Path) -> None:
    def call(script: str, *words: str) -> str:
        common = [f"paths.root={tmp_path}", "trainer=cpu", "data=kvasir_seg", "data.phantom=true"]
        common += ["data.phantom_n=40", "data.size=32"]
        flags = [word for word in words if word == "-m"]
        rest = [word for word in words if word != "-m"]
        command = [sys.executable, str(ROOT / script), *flags, *common, *rest]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    call("train.py", "trainer.max_epochs=1", "progress_bar=false", "logger=none")
    few = ("copies=40", "eot_samples=2", "data.limit_test=2", "logger=none")
    told = call("evaluate.py", "-m", "experiment=segmentation/kvasir", *few)
    assert "31 jobs: 31 rows done" in told
    rows = [json.loads(path.read_text()) for path in tmp_path.glob("outputs/rows/*.json")]
    assert len(rows) == 31
    votes = [row for row in rows if row["cell"]["defense"] == "medrdf_seg"]
    assert all(0 <= row["metrics"]["abstention_rate"] <= 1 for row in votes)
    call("evaluate.py", "-m", "experiment=segmentation/rm_map", *few, "attack=pgd")
    (picture,) = tmp_path.glob("outputs/sweeps/*/figures/rm_map.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
