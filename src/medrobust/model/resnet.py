"""Residual networks (He et al. 2016, "Deep Residual Learning for Image Recognition")."""

from collections.abc import Sequence

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
    """Build a residual network.

    Args:
        num_classes: number of classes K; the victim maps (N, C, H, W) in [0, 1] to logits (N, K).
        name: name in paths and tables.
        network: timm's name, such as `resnet18`.
        in_channels: channels that the network takes; grey images are repeated to them.
        small_stem: 3×3 convolution of stride 1 without max-pool, for 32-pixel images (He et al.
            2016, section 4.2), instead of 7×7 stride 2 with max-pool.
        drop_rate: dropout before the last layer.
        mean: mean per channel, in [0, 1] units; see `normalisation`.
        std: standard deviation per channel, in [0, 1] units.
        pretrained: start from ImageNet weights.

    Raises:
        PretrainedError: the weights are not available.
        ValueError: `small_stem` and `pretrained` are both set.
    """
    if small_stem and pretrained:
        raise ValueError(
            f"model.small_stem=true replaces the first layer of {network}, which model.pretrained="
            f"true has just loaded; choose one of them"
        )
    net = timm_network(
        network,
        pretrained=pretrained,
        num_classes=num_classes,
        in_chans=in_channels,
        drop_rate=drop_rate,
    )
    if small_stem:
        net.conv1 = nn.Conv2d(in_channels, 64, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.maxpool = nn.Identity()
    scaling = normalisation(mean, std, channels=in_channels, imagenet=pretrained)
    return Victim(
        net,
        **scaling,
        architecture={
            "builder": "resnet",
            "num_classes": num_classes,
            "name": name,
            "network": network,
            "in_channels": in_channels,
            "small_stem": small_stem,
            "drop_rate": drop_rate,
            **scaling,
        },
    )
