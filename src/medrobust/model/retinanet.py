"""RetinaNet (Lin et al. 2017, "Focal Loss for Dense Object Detection"), a one-stage detector."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from medrobust.model.core.anchors import PER_CELL, Anchors
from medrobust.model.core.name import ModelName, NetworkName
from medrobust.model.core.pretrained import normalisation, timm_network
from medrobust.model.core.victim import Victim

FIRST, LEVELS = 3, 5  # P3 to P7: strides 8 to 128


class RetinaNet(nn.Module):
    """Backbone, feature pyramid and heads of torchvision's RetinaNet, without its resizing.

    Args:
        backbone: image -> three maps of strides 8, 16 and 32.
        widths: channels of these maps.
        channels: channels of the pyramid and the heads.
        classes: number of classes K.
    """

    def __init__(
        self, backbone: nn.Module, widths: Sequence[int], channels: int, classes: int
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = FeaturePyramidNetwork(
            list(widths), channels, extra_blocks=LastLevelP6P7(channels, channels)
        )
        self.head = RetinaNetHead(channels, PER_CELL, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to class logits and offsets of every anchor, (N, K + 4, A)."""
        maps = dict(enumerate(self.backbone(x)))
        found = self.head(list(self.pyramid(maps).values()))
        return torch.cat([found["cls_logits"], found["bbox_regression"]], dim=2).transpose(1, 2)


def build(
    num_classes: int,
    *,
    name: ModelName,
    backbone: NetworkName = "resnet18",
    channels: int = 256,
    anchor_px: float = 32.0,
    in_channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    pretrained: bool = False,
) -> Victim:
    """Build a RetinaNet.

    Args:
        num_classes: number of classes K, without background: an anchor is background if no class
            reaches the threshold. The victim maps (N, C, H, W) in [0, 1] to (N, K + 4, A).
        name: name in paths and tables.
        backbone: timm's name of a network with maps of strides 8, 16 and 32.
        channels: channels of the pyramid and the heads; 256 in the paper.
        anchor_px: side of the smallest square anchor of the first level, in pixels; the largest of
            the last level is 25 times as long. 32 in the paper, on images of 600 pixels and more.
        in_channels: channels that the network takes; grey images are repeated to them.
        mean: mean per channel, in [0, 1] units; see `normalisation`.
        std: standard deviation per channel, in [0, 1] units.
        pretrained: start the backbone from ImageNet weights.

    Raises:
        PretrainedError: the weights are not available.
        ValueError: a size is not positive.
    """
    if channels < 1 or anchor_px < 1:
        raise ValueError(
            f"model.channels={channels}, model.anchor_px={anchor_px}: expected numbers >= 1"
        )
    maps = timm_network(
        backbone,
        pretrained=pretrained,
        features_only=True,
        out_indices=(FIRST - 1, FIRST, FIRST + 1),
        in_chans=in_channels,
    )
    net = RetinaNet(maps, maps.feature_info.channels(), channels, num_classes)
    scaling = normalisation(mean, std, channels=in_channels, imagenet=pretrained)
    return Victim(
        net,
        **scaling,
        anchors=Anchors([2 ** (FIRST + level) for level in range(LEVELS)], anchor_px),
        architecture={
            "builder": "retinanet",
            "num_classes": num_classes,
            "name": name,
            "backbone": backbone,
            "channels": channels,
            "anchor_px": anchor_px,
            "in_channels": in_channels,
            **scaling,
        },
    )
