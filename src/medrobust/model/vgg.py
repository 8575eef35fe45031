"""VGG (Simonyan & Zisserman 2015, "Very Deep Convolutional Networks …", configuration D)."""

from collections.abc import Sequence

from timm.layers import ClassifierHead
from torch import nn

from medrobust.model.core.name import ModelName, NetworkName
from medrobust.model.core.pretrained import normalisation, timm_network
from medrobust.model.core.victim import Victim


def build(
    num_classes: int,
    *,
    name: ModelName,
    network: NetworkName,
    in_channels: int = 3,
    small_stem: bool = False,
    drop_rate: float = 0.0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    pretrained: bool = False,
) -> Victim:
    """Build a VGG network.

    Poolings round up, so that sides below 32 pixels pass all five of them (28 → 14 → 7 → 4 → 2 →
    1); for sides divisible by 32 this is the original network.

    Args:
        num_classes: number of classes K; the victim maps (N, C, H, W) in [0, 1] to logits (N, K).
        name: name in paths and tables.
        network: timm's name, such as `vgg16`.
        in_channels: channels that the network takes; grey images are repeated to them.
        small_stem: for 28- or 32-pixel images. VGG's stem is 3×3 stride 1 already; average pooling
            and one linear layer replace the two 4096-wide layers for 7×7 maps (120 of 134 million
            weights).
        drop_rate: dropout in and before the last layers.
        mean: mean per channel, in [0, 1] units; see `normalisation`.
        std: standard deviation per channel, in [0, 1] units.
        pretrained: start from ImageNet weights.

    Raises:
        PretrainedError: the weights are not available.
    """
    net = timm_network(
        network,
        pretrained=pretrained,
        num_classes=num_classes,
        in_chans=in_channels,
        drop_rate=drop_rate,
    )
    for layer in net.features:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    if small_stem:
        net.pre_logits = nn.Identity()
        net.head = ClassifierHead(
            net.num_features, num_classes, pool_type="avg", drop_rate=drop_rate
        )
    scaling = normalisation(mean, std, channels=in_channels, imagenet=pretrained)
    return Victim(
        net,
        **scaling,
        architecture={
            "builder": "vgg",
            "num_classes": num_classes,
            "name": name,
            "network": network,
            "in_channels": in_channels,
            "small_stem": small_stem,
            "drop_rate": drop_rate,
            **scaling,
        },
    )
