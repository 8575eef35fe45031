"""The device refuses CPU tensors as CUDA does, and computes what the CPU does."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.attack.core.base import Attack
from medrobust.attack.core.goal import Goal
from medrobust.attack.fgsm import FGSM
from medrobust.defense.core.base import Purifier
from medrobust.defense.none import NoDefense
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.oblivious import Oblivious
from medrobust.threat.surrogate import Surrogate
from tests.support.clinic import clinic
from tests.support.device.compare import check_close, moved

pytestmark = pytest.mark.device

X = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
INDEX = torch.zeros(1, 3, 8, 8, dtype=torch.int64)
MIXED: dict[str, Callable[[Tensor], object]] = {
    "add": lambda y: y + X,
    "add, CPU first": lambda y: X + y,
    "a scalar of the device and a CPU tensor": lambda y: y.sum() + X,
    "in place": lambda y: y.clone().mul_(X),
    "comparison": lambda y: y > X,
    "equal": lambda y: torch.equal(y, X),
    "cat": lambda y: torch.cat([y, X]),
    "stack": lambda y: torch.stack([X, y]),
    "stack of scalars": lambda y: torch.stack([y.sum(), X.sum()]),
    "matmul": lambda y: y @ X,
    "linear": lambda y: F.linear(y, X[0, 0]),
    "conv": lambda y: F.conv2d(y, X[:, :, :3, :3]),
    "batch_norm": lambda y: F.batch_norm(y, torch.zeros(3), torch.ones(3)),
    "cross_entropy": lambda y: F.cross_entropy(y.flatten(1), torch.arange(4)),
    "grid_sample": lambda y: F.grid_sample(y, X[:, :2, :2, :2], align_corners=False),
    "where": lambda y: torch.where(X > 0, y, y),
    "masked_fill": lambda y: y.masked_fill(X > 0, 0.0),
    "gather": lambda y: y.gather(0, INDEX),
    "scatter": lambda y: y.scatter(0, INDEX.to(y.device), X),
    "index_select": lambda y: y.index_select(0, torch.tensor([0])),
    "index of a CPU tensor": lambda y: X[torch.tensor([0], device=y.device)],
    "values of an index": lambda y: y.clone().index_put_((torch.tensor([0, 1]),), X[:2]),
    "bucketize": lambda y: torch.bucketize(y, torch.arange(3.0)),
    "clamp": lambda y: y.clamp(X, X),
    "lerp": lambda y: y.lerp(X, 0.5),
    "generator": lambda y: torch.rand(2, device=y.device, generator=torch.Generator()),
    "numpy": lambda y: y.numpy(),
}
ALLOWED: dict[str, Callable[[Tensor], Tensor]] = {
    "a CPU scalar": lambda y: y + torch.tensor(2.0),
    "a number": lambda y: 2 * y,
    "where a CPU scalar": lambda y: y.where(y > 0, torch.tensor(0.0)),
    "CPU index": lambda y: y[torch.tensor([1, 0])],
    "CPU mask": lambda y: y[:, torch.tensor([True, False, True])],
    "put by a CPU index": lambda y: y.clone().index_put_((torch.tensor([0]),), torch.tensor(1.0)),
}
COMPUTED: dict[str, Callable[[Tensor], Tensor]] = {
    "views": lambda y: y.permute(0, 2, 3, 1)[:, ::2].flatten(1).unfold(1, 3, 2) + 1,
    "sort": lambda y: y.sort(dim=1).values,
    "unique": lambda y: (y > 0).long().unique(),
    "nonzero": lambda y: (y > 0).nonzero(),
    "fft": lambda y: torch.fft.fft2(y).abs(),
    "qr": lambda y: torch.linalg.qr(y).Q,
    "median": lambda y: y.median(dim=1).values,
    "interpolate": lambda y: F.interpolate(y, (5, 11), mode="bicubic"),
    "channels_last": lambda y: y.contiguous(memory_format=torch.channels_last).mean((2, 3)),
    "out": lambda y: torch.add(y, 1, out=torch.empty(0, device=y.device)),
    "bfloat16": lambda y: y.to(torch.bfloat16).exp().float(),
    "factories": lambda y: torch.arange(8, device=y.device) + torch.eye(8, device=y.device) + y,
    "index_add": lambda y: y.index_add(0, INDEX[0, 0, 0, :1].to(y.device), y[:1]),
    "in place through a view": lambda y: y.clone().view(4, -1)[:, ::3].exp_(),
}


@pytest.mark.parametrize("name", MIXED)
def test_mixed_devices_raise(name: str, device: torch.device) -> None:
    with pytest.raises((RuntimeError, TypeError), match=r"device|indices should be"):
        MIXED[name](X.to(device))


@pytest.mark.parametrize("name", ALLOWED)
def test_cpu_scalars_and_indices_pass(name: str, device: torch.device) -> None:
    check_close(ALLOWED[name](X.to(device)), ALLOWED[name](X), device)


@pytest.mark.parametrize("name", COMPUTED)
def test_operators_equal_the_cpus(name: str, device: torch.device) -> None:
    check_close(COMPUTED[name](X.to(device)), COMPUTED[name](X), device)


def test_copies_leave_the_source_alone(device: torch.device) -> None:
    there = X.to(device)
    assert there.device == device
    back = there.cpu()
    there.add_(1)
    assert torch.equal(back, X)
    assert torch.equal(there.cpu(), X + 1)
    assert copy.deepcopy(there).device == device
    assert float(there[0, 0, 0, 0]) == float(X[0, 0, 0, 0] + 1)
    assert there[0, 0].tolist() == (X + 1)[0, 0].tolist()


def test_a_file_keeps_the_device(device: torch.device, tmp_path) -> None:
    torch.save(X.to(device), tmp_path / "x.pt")
    check_close(torch.load(tmp_path / "x.pt"), X, device)
    assert torch.equal(torch.load(tmp_path / "x.pt", map_location="cpu"), X)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD])
def test_training_equals_the_cpus(
    optimizer: type[torch.optim.Optimizer], device: torch.device
) -> None:
    """Convolutions of all kinds, their backward passes, batch norm, pooling and the optimizer."""
    torch.manual_seed(0)
    first = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, groups=2, dilation=2, padding=2), nn.Tanh()),
        *(nn.ConvTranspose2d(8, 4, 2, stride=2, bias=False), nn.GroupNorm(2, 4), nn.Flatten()),
        nn.Linear(256, 5),
    )
    second, losses = moved(first, device), []
    for network, place in ((first, torch.device("cpu")), (second, device)):
        steps = optimizer(network.parameters(), lr=1e-2, foreach=False)  # the CPU's choice
        for _ in range(3):
            steps.zero_grad()
            loss = F.cross_entropy(network(X.to(place)), torch.arange(4, device=place))
            loss.backward()
            steps.step()
        losses.append(loss)
    check_close(losses[1], losses[0], device)
    for name, value in second.state_dict().items():
        check_close(value, first.state_dict()[name], device, atol=1e-2)


class Strays(FGSM):
    """Goes through the CPU in the middle."""

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        change = super().perturb(surrogate, x, goal, seeds=seeds).cpu() - x.cpu()
        return (x + change).clamp(0, 1)


class LosesItsResult(FGSM):
    """Returns its images on the CPU."""

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        return super().perturb(surrogate, x, goal, seeds=seeds).cpu()


class DrawsOnTheCPU(Purifier):
    """Its noise is a CPU tensor."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(0)
        return (x + 0.1 * torch.randn(x.shape[1:], generator=generator)).clamp(0, 1)


@pytest.mark.parametrize("attack", [Strays, LosesItsResult])
def test_an_attack_that_strays_is_found(attack: type[Attack], device: torch.device) -> None:
    x, y, seeds = clinic().clean[:2], clinic().labels[:2], clinic().seeds[:2]
    attack(8 / 255)(Oblivious()(clinic().victim, NoDefense()), x, y, seeds=seeds)
    surrogate = Oblivious()(moved(clinic().victim, device), NoDefense())
    with pytest.raises(RuntimeError, match="same device"):
        attack(8 / 255)(surrogate, x.to(device), y.to(device), seeds=seeds.to(device))


def test_a_defense_that_strays_is_found(device: torch.device) -> None:
    x, seeds = clinic().clean[:2], clinic().seeds[:2]
    DrawsOnTheCPU()(x, clinic().victim, seeds=seeds)
    victim = moved(clinic().victim, device)
    surrogate = Adaptive()(victim, DrawsOnTheCPU())
    for call in (lambda *a: DrawsOnTheCPU()(a[0], victim, seeds=a[1]), surrogate):
        with pytest.raises(RuntimeError, match="same device"):
            call(x.to(device), seeds.to(device))
