"""MobileNetV2 (Sandler et al. 2018, "Inverted Residuals and Linear Bottlenecks")."""

from collections.abc import Sequence

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
    """Build a MobileNetV2.

    Args:
        num_classes: number of classes K; the victim maps (N, C, H, W) in [0, 1] to logits (N, K).
        name: name in paths and tables.
        network: timm's name, such as `mobilenetv2_100`.
        in_channels: channels that the network takes; grey images are repeated to them.
        small_stem: stride 1 instead of 2 in the first convolution, for 28- or 32-pixel images;
            the weights keep their shapes.
        drop_rate: dropout before the last layer.
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
    if small_stem:
        net.conv_stem.stride = (1, 1)
    scaling = normalisation(mean, std, channels=in_channels, imagenet=pretrained)
    return Victim(
        net,
        **scaling,
        architecture={
            "builder": "mobilenet",
            "num_classes": num_classes,
            "name": name,
            "network": network,
            "in_channels": in_channels,
            "small_stem": small_stem,
            "drop_rate": drop_rate,
            **scaling,
        },
    )
