"""VGG-16 with a share of its channels, for machines without a GPU."""

from collections.abc import Sequence
from typing import Any

from timm.layers import ClassifierHead
from timm.models.vgg import VGG
from torch import nn

from medrobust.model.core.name import ModelName
from medrobust.model.core.pretrained import normalisation
from medrobust.model.core.victim import Victim

_LAYERS: list[Any] = [64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M"]
"""Configuration D of Simonyan & Zisserman 2015."""


def build(
    num_classes: int,
    *,
    name: ModelName,
    width: float = 0.25,
    in_channels: int = 3,
    drop_rate: float = 0.0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Victim:
    """Build a slim VGG-16 with batch norm, average pooling and one linear layer as its head.

    Args:
        num_classes: number of classes K; the victim maps (N, C, H, W) in [0, 1] to logits (N, K).
        name: name in paths and tables.
        width: share of the channels of each layer, in (0, 1].
        in_channels: channels that the network takes; grey images are repeated to them.
        drop_rate: dropout before the last layer.
        mean: mean per channel, in [0, 1] units; see `normalisation`.
        std: standard deviation per channel, in [0, 1] units.

    Raises:
        ValueError: the width is out of range.
    """
    if not 0 < width <= 1:
        raise ValueError(f"model.width={width}, expected a share of VGG-16's channels in (0, 1]")
    sizes = [part if part == "M" else max(1, round(part * width)) for part in _LAYERS]
    net: Any = VGG(sizes, num_classes=num_classes, in_chans=in_channels, norm_layer=nn.BatchNorm2d)
    for layer in net.features:
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True  # so that sides below 32 pixels pass all five
    net.pre_logits = nn.Identity()
    net.head = ClassifierHead(net.num_features, num_classes, pool_type="avg", drop_rate=drop_rate)
    scaling = normalisation(mean, std, channels=in_channels, imagenet=False)
    return Victim(
        net,
        **scaling,
        architecture={
            "builder": "vgg_slim",
            "num_classes": num_classes,
            "name": name,
            "width": width,
            "in_channels": in_channels,
            "drop_rate": drop_rate,
            **scaling,
        },
    )
