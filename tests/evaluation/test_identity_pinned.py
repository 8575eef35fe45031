"""What a row's id is made of besides weights, images and code stays as it is."""

from typing import Any

import pytest
from hydra.utils import instantiate

from medrobust.evaluation.identity.science import keys_of
from medrobust.fingerprint import digest
from tests.experiment.paper_cells import composed

VGG = "model=vgg16_slim"
MASKS = "data=kvasir_seg model=unet"
BOXES = "data=ead2019 model=retinanet objective=retinanet"
PINNED = {
    f"{VGG} attack=pgd": "fe7b3a74841432dc",
    f"{VGG} attack=fgsm defense=jpeg threat=adaptive": "1dac705c92bdd738",
    f"{VGG} attack=apgd_ce defense=median": "5303155a1d7c2d33",
    f"{VGG} attack=cw_linf defense=medrdf/gaussian_median threat=adaptive": "900a74fd14dc342b",
    f"{VGG} attack=square defense=jpeg threat=blackbox": "f8e4a2627ce64cd4",
    f"{VGG} attack=pgd defense=random_resize_pad threat=adaptive": "29800beee7911546",
    f"{VGG} attack=orthogonal_pgd defense=feature_squeezing threat=adaptive": "f0e53a057d090a0d",
    f"{VGG} attack=autoattack defense=mdda threat=adaptive": "8e3094424da37854",
    f"{VGG} attack=pgd defense=sr threat=adaptive": "05e077b08dfcb941",
    f"{MASKS} attack=smia": "14589fb5a192f769",
    f"{MASKS} attack=pgd defense=medrdf_seg threat=adaptive": "7da09e6243c9144c",
    f"{BOXES} attack=dag": "ab64cf1f31ca8359",
}


@pytest.mark.parametrize("words", PINNED)
def test_settings_keep_their_digest(words: str) -> None:
    """Renaming an argument or a class makes every stored row a stranger: do it once, on purpose."""
    config = composed(*words.split(), "data.phantom=true", "logger=none", "paths.root=.")
    made: dict[str, Any] = {
        group: instantiate(config[group]).settings for group in ("attack", "defense", "threat")
    }
    assert digest([made, keys_of(config)])[:16] == PINNED[words]
