"""A small trained classifier with clean splits and attacked images, for tests of detectors."""

import copy
from functools import cache
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.attack.pgd import PGD
from medrobust.defense.core.detector import Detector
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.toys import ToyDataset

TAPS = ("2", "5")
CLASSES = 3
SIZES = {"train": 240, "val": 120, "test": 60}
SPARE = 60


class SplitData:
    """Stands for a datamodule with clean splits."""

    name = "toy"
    task = "classification"
    key = "toy"
    channels = 3
    size = 16
    workers = 0
    phantom = False
    graded = False
    num_classes = CLASSES
    classes = ("a", "b", "c")

    def __init__(self, splits: dict[str, tuple[Tensor, Tensor]], digest: str = "toy") -> None:
        self.splits = {name: ToyDataset(*split) for name, split in splits.items()}
        self.manifest = SimpleNamespace(digest=digest)

    def prepare_data(self) -> None:
        """Nothing to fetch."""

    def setup(self, stage: str) -> None:
        """Nothing to list."""

    def dataset(self, split: str) -> ToyDataset:
        return self.splits[split]

    def labels(self, split: str) -> Tensor:
        return self.splits[split].labels


class Clinic(NamedTuple):
    """What a detector is tested on.

    Attributes:
        victim: frozen, right on nearly all clean images.
        data: `train`, `val` and `test` in memory.
        clean: test images (N, 3, 16, 16).
        labels: of them.
        attacked: of PGD, which fools the victim on all of them.
        seeds: of them.
    """

    victim: Victim
    data: SplitData
    clean: Tensor
    labels: Tensor
    attacked: Tensor
    seeds: Tensor


def pictures(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Smooth images whose class is the place of a bright spot, under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    coarse = 0.3 + 0.25 * torch.rand(count, 3, 4, 4, generator=generator)
    for place, label in enumerate(labels.tolist()):
        coarse[place, :, label + 1, label] += 0.25
    smooth = F.interpolate(coarse, (16, 16), mode="bilinear")
    noise = 0.03 * torch.randn(smooth.shape, generator=generator)
    return (smooth + noise).clamp(0, 1), labels


@cache
def clinic() -> Clinic:
    """Trained in a second or two, the same every time."""
    data = SplitData({name: pictures(count, i) for i, (name, count) in enumerate(SIZES.items())})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, CLASSES)),
        )
        victim = Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture={"kind": "clinic"})
        optimizer = torch.optim.Adam(victim.parameters(), lr=5e-3)
        train = data.dataset("train")
        for _ in range(8):
            for part in torch.randperm(len(train)).split(40):
                optimizer.zero_grad()
                F.cross_entropy(victim(train.images[part]), train.labels[part]).backward()
                optimizer.step()
    victim.zero_grad()
    victim.freeze()
    test, attacked, seeds = _fooled(victim, data.dataset("test"))
    data.splits["test"] = test
    return Clinic(victim, data, test.images, test.labels, attacked, seeds)


def _fooled(victim: Victim, test: ToyDataset) -> tuple[ToyDataset, Tensor, Tensor]:
    """Return images that the victim has right and PGD fools, attacked, with seeds.

    Spare images stand in for those that PGD leaves: which ones is a matter of rounding.
    """
    spare = pictures(SPARE, len(SIZES))
    drawn = ToyDataset(torch.cat([test.images, spare[0]]), torch.cat([test.labels, spare[1]]))
    seeds = sample_seeds(0, [entry.id for entry in drawn.entries])
    attack = PGD(16 / 255, steps=20)
    attacked = attack(VictimSurrogate(victim), drawn.images, drawn.labels, seeds=seeds)
    right = victim(drawn.images).argmax(1) == drawn.labels
    (kept,) = torch.where(right & (victim(attacked).argmax(1) != drawn.labels))
    kept = kept[: SIZES["test"]]
    assert len(kept) == SIZES["test"]
    return ToyDataset(drawn.images[kept], drawn.labels[kept]), attacked[kept], seeds[kept]


def check_gradient(detector: Detector) -> None:
    """The score's gradient is its slope along a random direction, in float64."""
    detector, victim = copy.deepcopy(detector).double(), copy.deepcopy(clinic().victim).double()
    x = clinic().attacked[:24].double().requires_grad_()
    seeds = torch.arange(24)
    (grad,) = torch.autograd.grad(detector.proxy(x, victim, seeds=seeds).score.sum(), x)
    assert (grad.flatten(1).norm(dim=1) > 1e-6).all()
    generator = torch.Generator().manual_seed(0)
    way = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (
            detector.proxy(x + step * way, victim, seeds=seeds).score for step in (1e-7, -1e-7)
        )
    slope = (ahead - behind) / 2e-7
    same = torch.isclose((grad * way).sum((1, 2, 3)), slope, rtol=1e-4, atol=1e-5)
    assert same.float().mean() > 0.7  # a step may cross a kink


def check_bits(detector: Detector) -> None:
    """An image has the same score in any batch and order, bit for bit."""
    victim, _, clean, *_ = clinic()
    with torch.no_grad():
        whole = detector(clean, victim, seeds=torch.arange(len(clean))).score
        for rows in (torch.arange(3), torch.tensor([7]), torch.arange(len(clean) - 1, -1, -1)):
            assert torch.equal(detector(clean[rows], victim, seeds=rows).score, whole[rows])
