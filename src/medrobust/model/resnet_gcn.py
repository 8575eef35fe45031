"""A residual network whose class weights come from a graph network over the classes."""

from collections.abc import Sequence
from typing import Any

from medrobust.model.core.graph import GraphClassifier, chain
from medrobust.model.core.name import ModelName, NetworkName
from medrobust.model.core.victim import Victim
from medrobust.model.resnet import build as resnet
from medrobust.number import whole


def build(
    num_classes: int,
    *,
    name: ModelName,
    network: NetworkName,
    hidden: int = 1024,
    in_channels: int = 3,
    small_stem: bool = False,
    drop_rate: float = 0.0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    pretrained: bool = False,
) -> Victim:
    """Build a residual network for grades, with a graph that joins each grade to the next.

    Qi et al. 2021, "Stabilized Medical Image Attacks", grade retinopathy by "ResNet-50 integrated
    with a graph convolutional network (Kipf & Welling)", and specify neither nodes nor edges. This
    is ML-GCN's form (Chen et al. 2019), see `GraphClassifier`; joining neighbouring grades is ours.

    Args:
        num_classes: number of grades K, in order; the victim maps (N, C, H, W) in [0, 1] to logits
            (N, K).
        name: name in paths and tables.
        network: timm's name, such as `resnet50`.
        hidden: features of a grade between the two graph convolutions, >= 1.
        in_channels: see `resnet.build`, also for the following.
        small_stem: 3×3 convolution of stride 1 without max-pool.
        drop_rate: dropout before the last layer.
        mean: mean per channel, in [0, 1] units.
        std: standard deviation per channel, in [0, 1] units.
        pretrained: start from ImageNet weights.

    Raises:
        PretrainedError: the weights are not available.
        NumberError: `hidden` is not a whole number, or below 1.
        ValueError: `small_stem` and `pretrained` are both set.
    """
    hidden = whole(hidden, "model.hidden", low=1)
    victim = resnet(
        num_classes,
        name=name,
        network=network,
        in_channels=in_channels,
        small_stem=small_stem,
        drop_rate=drop_rate,
        mean=mean,
        std=std,
        pretrained=pretrained,
    )
    net: Any = victim.network
    net.fc = GraphClassifier(net.fc.in_features, chain(num_classes), (hidden,))
    victim.architecture |= {"builder": "resnet_gcn", "hidden": hidden}
    return victim
