"""Every layer that detectors look at by default is a module of its network, in order of depth."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

from medrobust.model.core.taps import LAYERS, layers
from tests.experiment.paper_cells import CONF

SIZES = [16, 8, 4, 2]
"""Sides of the maps of a 64-pixel image: a quarter of it, then half each time."""


@pytest.mark.by_default("mobilenet_v2", "resnet18", "vgg16_slim")
@pytest.mark.parametrize("model", LAYERS)
def test_layers_are_there_from_shallow_to_deep(model: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+model={model}"]).model
    stem = {} if model == "vgg16_slim" else {"small_stem": model == "vgg16"}
    victim = instantiate(config, num_classes=2, **stem).freeze()
    taps = layers(config.name)
    _, found = victim.features(torch.rand(1, 3, 64, 64), taps)
    assert list(found) == taps
    sides = [seen.shape[-1] for seen in found.values()]
    assert sides == ([2 * side for side in SIZES] if model.startswith("vgg16") else SIZES)


@pytest.mark.parametrize(("model", "network"), [("vgg16", "vgg16"), ("vgg16_slim", "vgg16_bn")])
def test_vgg16s_are_the_activations_that_the_paper_counts(model: str, network: str) -> None:
    from timm import create_model

    with torch.device("meta"):
        net = create_model(network, num_classes=2)
    names = [name for name, module in net.named_modules() if isinstance(module, nn.ReLU)]
    assert [names.index(tap) + 1 for tap in LAYERS[model]] == [3, 6, 9, 12]


def test_resnet50s_are_the_blocks_that_the_paper_counts() -> None:
    from timm import create_model
    from timm.models.resnet import Bottleneck

    with torch.device("meta"):
        network = create_model("resnet50", num_classes=2)
    names = [name for name, module in network.named_modules() if isinstance(module, Bottleneck)]
    assert [names.index(tap) + 1 for tap in LAYERS["resnet50"]] == [1, 4, 8, 14]


def test_a_network_without_known_layers() -> None:
    with pytest.raises(ValueError, match=r"model=unet, only for \['mobilenet_v2'.*defense\.taps="):
        layers("unet")
