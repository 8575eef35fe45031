"""The experiments on masks: what they plan."""

import pytest
from hydra.utils import instantiate

from medrobust.attack.ddn import DDN
from medrobust.attack.loss.dice import Dice
from tests.experiment.paper_cells import composed, planned

ATTACKS = ("none", "fgsm", "pgd", "segmentation/pgd_dice", "segmentation/ddn", "smia", "dag")
DEFENSES = ("none", "mdda", "tv_minimization", "medrdf_seg")


@pytest.mark.parametrize("name", ["kvasir", "covid_ct"])
def test_every_attack_meets_every_defense_and_one_knows_them(name: str) -> None:
    config = composed(f"experiment=segmentation/{name}")
    assert (config.model.name, config.objective.name) == ("unet", "dice_ce")
    jobs = [(job["threat"], job["attack"], job["defense"]) for job in planned(config)]
    expected = [("oblivious", attack, defense) for attack in ATTACKS for defense in DEFENSES]
    strong = ("pgd", "momentum_pgd", "strongest")
    expected += [("adaptive", attack, defense) for attack in strong for defense in DEFENSES[1:]]
    assert sorted(jobs) == sorted(expected)


def test_variants_are_what_they_say() -> None:
    common = ("experiment=segmentation/kvasir", "data.size=96")
    pgd = instantiate(composed(*common, "attack=segmentation/pgd_dice").attack)
    assert isinstance(pgd.loss, Dice)
    ddn = instantiate(composed(*common, "attack=segmentation/ddn").attack)
    assert isinstance(ddn, DDN)
    assert ddn.eps == pytest.approx(8 / 255 * (3 * 96 * 96) ** 0.5)
    words = ("+attack/criterion=jaccard_below", "attack.criterion.level=0.3")
    assert instantiate(composed(*common, "attack=pgd", *words).attack).criterion.level == 0.3


def test_the_map_of_votes_draws_what_it_records() -> None:
    config = composed("experiment=segmentation/rm_map")
    jobs = planned(config)
    assert {job["defense"] for job in jobs} == {"medrdf_seg"}
    assert [job["attack"] for job in jobs] == ["fgsm", "pgd", "smia"]
    assert (config.figure.kind, config.maps.images) == ("rm_map", 4)
    assert (
        composed("experiment=segmentation/kvasir").figure is None
    )  # narrowed, it has no such cells
