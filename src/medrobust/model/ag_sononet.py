"""Attention-gated Sononet (Schlemper et al. 2019), the medical victim of MedRDF."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medrobust.model.core.attention import GridAttention
from medrobust.model.core.name import ModelName
from medrobust.model.core.pretrained import normalisation
from medrobust.model.core.victim import Victim
from medrobust.number import fraction, whole

DEPTHS = (3, 3, 3, 2, 2)  # convolutions per block


class AGSononet(nn.Module):
    """VGG-like blocks with attention gates on the third and fourth, driven by the fifth.

    Schlemper et al. 2019, "Attention Gated Networks: Learning to Leverage Salient Regions in
    Medical Images" (Medical Image Analysis), on the Sononet of Baumgartner et al. 2017: five blocks
    of 3×3 convolutions with batch norm and ReLU, w, 2w, 4w, 8w and 8w channels, max-pooling between
    them. Blocks 3 and 4 pass attention gates fed by block 5. The gates' outputs and the mean of
    block 5 are concatenated and classified by one linear layer, the aggregation "concat" of the
    authors' code. Their deep supervision and later fine-tuning, which need other losses, are left
    out. With width 16, three channels and seven classes it has 698,729 weights.

    Poolings round up, so that small sides keep a grid of gating positions (28 → 14 → 7 → 4 → 2);
    for sides divisible by 16 this is the original network.

    The attention maps are the outputs of `attention3.map` and `attention4.map`, (N, 1, H, W).

    Args:
        num_classes: number of classes K.
        in_channels: channels C of the images.
        width: w, channels of the first block; 16 for AG-Sononet-16.
        drop_rate: dropout before the last layer.
    """

    def __init__(self, num_classes: int, in_channels: int, width: int, drop_rate: float) -> None:
        super().__init__()
        channels = [width, 2 * width, 4 * width, 8 * width, 8 * width]
        before = [in_channels, *channels[:-1]]
        self.block1, self.block2, self.block3, self.block4, self.block5 = (
            block(*sizes) for sizes in zip(before, channels, DEPTHS, strict=True)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.attention3 = GridAttention(channels[2], channels[4], channels[4])
        self.attention4 = GridAttention(channels[3], channels[4], channels[4])
        self.drop = nn.Dropout(drop_rate)
        self.classifier = nn.Linear(channels[2] + channels[3] + channels[4], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, C, H, W) to logits (N, K)."""
        third = self.block3(self.pool(self.block2(self.pool(self.block1(x)))))
        fourth = self.block4(self.pool(third))
        fifth = self.block5(self.pool(fourth))
        parts = [self.attention3(third, fifth), self.attention4(fourth, fifth)]
        joined = torch.cat([*parts, fifth.mean(dim=(2, 3))], dim=1)
        return self.classifier(self.drop(joined))


def block(channels: int, width: int, depth: int) -> nn.Sequential:
    """Build `depth` 3×3 convolutions with batch norm and ReLU, from `channels` to `width`."""
    layers: list[nn.Module] = []
    for number in range(depth):
        first = channels if number == 0 else width
        convolution = nn.Conv2d(first, width, kernel_size=3, padding=1)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def build(
    num_classes: int,
    *,
    name: ModelName,
    width: int = 16,
    in_channels: int = 3,
    drop_rate: float = 0.0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Victim:
    """Build an attention-gated Sononet with random weights; no suitable ones are published.

    Args:
        num_classes: number of classes K; the victim maps (N, C, H, W) in [0, 1] to logits (N, K).
        name: name in paths and tables.
        width: channels of the first block; 16 for AG-Sononet-16.
        in_channels: channels that the network takes; grey images are repeated to them.
        drop_rate: dropout before the last layer, in [0, 1].
        mean: per channel, in [0, 1] units; None for 0.5.
        std: per channel, in [0, 1] units; None for 0.5.

    Raises:
        NumberError: a number is out of range.
    """
    width = whole(width, "model.width", low=1)
    in_channels = whole(in_channels, "model.in_channels", low=1)
    drop_rate = fraction(drop_rate, "model.drop_rate")
    net = AGSononet(num_classes, in_channels, width, drop_rate)
    scaling = normalisation(mean, std, channels=in_channels, imagenet=False)
    return Victim(
        net,
        **scaling,
        architecture={
            "builder": "ag_sononet",
            "num_classes": num_classes,
            "name": name,
            "width": width,
            "in_channels": in_channels,
            "drop_rate": drop_rate,
            **scaling,
        },
    )
