"""What a row's id is made of besides weights, images and code stays as it is."""

from typing import Any

import pytest
from hydra.utils import instantiate

from medrobust.evaluation.identity.science import keys_of
from medrobust.fingerprint import digest
from tests.experiment.paper_cells import composed

VGG = "model=vgg16_slim"
MASKS = "data=kvasir_seg model=unet"
BOXES = "data=ead2019 model=retinanet objective=detection"
PINNED = {
    f"{VGG} attack=pgd": "7a6b3f71b116b102",
    f"{VGG} attack=fgsm defense=jpeg threat=adaptive": "0203bfb64783dbb6",
    f"{VGG} attack=apgd_ce defense=median": "5857dfaf9e0611cb",
    f"{VGG} attack=cw_linf defense=medrdf/gaussian_median threat=adaptive": "3ee189e42aa61383",
    f"{VGG} attack=square defense=jpeg threat=blackbox": "78f2992046d9e06b",
    f"{VGG} attack=pgd defense=random_resize_pad threat=adaptive": "55d68eeef3284745",
    f"{VGG} attack=orthogonal_pgd defense=feature_squeezing threat=adaptive": "b081a0f2234b0d3a",
    f"{VGG} attack=autoattack defense=mdda threat=adaptive": "9b20b92298794a20",
    f"{VGG} attack=pgd defense=sr threat=adaptive": "1dca799a597e1eb0",
    f"{MASKS} attack=smia": "62e67d07a62b821e",
    f"{MASKS} attack=pgd defense=medrdf_seg threat=adaptive": "d82a8344cc553a5d",
    f"{BOXES} attack=dag": "34b145c6d900132e",
}


@pytest.mark.parametrize("words", PINNED)
def test_settings_keep_their_digest(words: str) -> None:
    """Renaming an argument or a class makes every stored row a stranger: do it once, on purpose."""
    config = composed(*words.split(), "data.phantom=true", "logger=none", "paths.root=.")
    made: dict[str, Any] = {
        group: instantiate(config[group]).settings for group in ("attack", "defense", "threat")
    }
    assert digest([made, keys_of(config)])[:16] == PINNED[words]
