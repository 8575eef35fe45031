"""A small detector with boxes to find, for tests of what stands around one."""

from functools import cache

import torch
from torch import Tensor, nn

from medrobust.model.core.anchors import Anchors
from medrobust.model.core.victim import Victim
from medrobust.model.retinanet import RetinaNet, build
from medrobust.rng import sample_seeds
from medrobust.threat.surrogate import VictimSurrogate

CLASSES, SIZE, COUNT = 3, 64, 7


class Maps(nn.Module):
    """Three maps of strides 8, 16 and 32, of four channels, from averages of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> list[Tensor]:
        deep = torch.tanh(3 * self.mix(x))
        return [nn.functional.avg_pool2d(deep, stride) for stride in (8, 16, 32)]


def whole_network(seed: int = 0) -> Victim:
    """RetinaNet with a ResNet-10 and narrow heads, untrained."""
    torch.manual_seed(seed)
    return build(CLASSES, name="retinanet", backbone="resnet10t", channels=16, anchor_px=16)


@cache
def detector() -> Victim:
    """Untrained and frozen, its scores spread around what is shown."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = RetinaNet(Maps(), [4, 4, 4], 8, CLASSES)
        for name, weight in network.head.named_parameters():
            if weight.ndim == 4:
                nn.init.normal_(
                    weight, std=0.05 if "bbox" in name else 0.2 if "conv" in name else 0.25
                )
        nn.init.constant_(network.head.classification_head.cls_logits.bias, -1.0)
    anchors = Anchors((8, 16, 32, 64, 128), 12.0)
    victim = Victim(
        network, mean=[0.5] * 3, std=[0.25] * 3, architecture={"kind": "boxes"}, anchors=anchors
    )
    return victim.freeze()


def surrogate() -> VictimSurrogate:
    return VictimSurrogate(detector())


@cache
def pictures(count: int = COUNT) -> Tensor:
    """(count, 3, 64, 64), smooth."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    smooth = nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bilinear")
    return (0.1 + 0.8 * smooth).clamp(0, 1)


@cache
def answered(count: int = COUNT) -> Tensor:
    """What the detector is surest of, as true boxes (count, 3, 5): attacks have much to lose."""
    from medrobust.box.keep import kept

    with torch.no_grad():
        found = kept(detector().predict(pictures(count)))
    first = torch.cat([found.label[:, :2, None].float(), found.boxes[:, :2]], dim=2)
    filler = torch.zeros(count, 1, 5)
    filler[..., 0] = -1
    return torch.cat([first, filler], dim=1)


def seeds(count: int = COUNT) -> Tensor:
    return sample_seeds(0, [f"picture/{i}" for i in range(count)])


def random_boxes(count: int, most: int, seed: int, classes: int = CLASSES) -> Tensor:
    """True boxes (count, most, 5), a random number of them real; the first image has none."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, most, 2, generator=generator) * 0.7 * SIZE
    size = (0.1 + 0.5 * torch.rand(count, most, 2, generator=generator)) * SIZE
    label = torch.randint(classes, (count, most, 1), generator=generator).float()
    boxes = torch.cat([label, corner, (corner + size).clamp(max=SIZE)], dim=2)
    real = torch.arange(most) < torch.randint(1, most + 1, (count, 1), generator=generator)
    real[0] = False
    return boxes.where(real.unsqueeze(2), torch.tensor([-1.0, 0, 0, 0, 0]))
