"""What a row's id is made of besides weights, images and code stays as it is."""

from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from medrobust.evaluation.identity.scientific import Science, global_keys
from medrobust.fingerprint import digest
from tests.experiment.paper_cells import composed

VGG = "model=vgg16_slim"
GAUSSIAN = "defense=medrdf defense/noise=gaussian"
MASKS = "data=kvasir_seg model=unet"
BOXES = "data=ead2019 model=retinanet objective=retinanet"
PINNED = {
    f"{VGG} attack=pgd": "fe7b3a74841432dc",
    f"{VGG} attack=fgsm defense=jpeg threat=adaptive": "c28444d658e08139",
    f"{VGG} attack=apgd_ce defense=median": "5303155a1d7c2d33",
    f"{VGG} attack=cw_linf {GAUSSIAN} threat=adaptive": "8eb325a403532e05",
    f"{VGG} attack=square defense=jpeg threat=blackbox": "f8e4a2627ce64cd4",
    f"{VGG} attack=pgd defense=random_resize_pad threat=adaptive": "c18bc48770006a37",
    f"{VGG} attack=orthogonal_pgd defense=feature_squeezing threat=adaptive": "a114e8a12dcd5cb3",
    f"{VGG} attack=autoattack defense=mdda threat=adaptive": "f5658457a5dc1895",
    f"{VGG} attack=pgd defense=sr threat=adaptive": "b6cf73a7e60f4cfd",
    f"{MASKS} attack=smia": "14589fb5a192f769",
    f"{MASKS} attack=pgd defense=medrdf_seg threat=adaptive": "3cd13a3ee8f187e4",
    f"{BOXES} attack=dag": "ab64cf1f31ca8359",
}


@pytest.mark.parametrize("words", PINNED)
def test_settings_keep_their_digest(words: str) -> None:
    """Renaming an argument or a class makes every stored row a stranger: do it once, on purpose."""
    config = composed(*words.split(), "data.phantom=true", "logger=none", "paths.root=.")
    made: dict[str, Any] = {
        group: instantiate(config[group]).settings for group in ("attack", "defense", "threat")
    }
    assert digest([made, global_keys(config)])[:16] == PINNED[words]


def test_draws_count_where_there_are_several_alone() -> None:
    words = (*VGG.split(), "data.phantom=true", "logger=none", "paths.root=.")
    configs = [composed(*words, *more) for more in ([], ["defender_draws=5"])]
    names = [name for name in configs[0] if name != "hydra"]
    one, five = (Science.of(OmegaConf.masked_copy(config, names)) for config in configs)
    assert "defender_draws" not in one.config
    assert one.keys == global_keys(configs[0])
    assert five.config == one.config | {"defender_draws": 5}
    assert five.judged_by(1) == one  # a deterministic defense
    assert digest(list(five)) != digest(list(one))
