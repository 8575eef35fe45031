"""FAB on linear models, where distances are known, and beside the authors' code (pyautoattack).

What differs from pyautoattack's FABAttack_PT, and is therefore given or allowed for here:

- it returns an image of the walk; ours then searches along the line to the clean image, as the
  authors' first code could: up to 1 % nearer.
- `eps` is only the radius of its restarts, and decides which images get one; it has no None.
- it computes in float32 whatever it is given.
"""

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from scipy.optimize import linprog
from torch import Tensor, nn

from medrobust.attack.core.base import AttackError
from medrobust.attack.core.hyperplane import DUAL
from medrobust.attack.core.norm import distance
from medrobust.attack.fab import FAB, wrong_classes
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds
from medrobust.threat.surrogate import VictimSurrogate
from tests.attack.conftest import RowNet, make_victim

NORMS = ("linf", "l2")
COUNT = 60
Toys = tuple[VictimSurrogate, Tensor, Tensor, Tensor]


class Linear(nn.Module):
    """Logits w x + b of images with `inputs` numbers."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(classes, inputs, generator=generator).double())
        self.bias = nn.Parameter(0.1 * torch.randn(classes, generator=generator).double())

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


def linear(classes: int, spread: float) -> tuple[VictimSurrogate, Linear, Tensor, Tensor]:
    """A linear victim, its network, and images of 3 x 5 x 4 around grey with their own labels."""
    network = Linear(60, classes)
    victim = Victim(network, mean=[0.0] * 3, std=[1.0] * 3, architecture={}).double().freeze()
    noise = torch.rand(COUNT, 3, 5, 4, generator=torch.Generator().manual_seed(1)).double()
    x = 0.5 + spread * (2 * noise - 1)
    return VictimSurrogate(victim), network, x, victim(x).argmax(1)


@pytest.fixture(scope="module")
def toys(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> dict[str, Toys]:
    """Three classes on a trained convnet, twelve on a random network."""
    many = VictimSurrogate(make_victim(RowNet(3 * 6 * 5, hidden=24, classes=12)))
    x = torch.rand(COUNT, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    return {
        "three": (surrogate, images[:COUNT], labels[:COUNT], seeds[:COUNT]),
        "twelve": (many, x, many.victim(x).argmax(1), sample_seeds(1, [*map(str, range(COUNT))])),
    }


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_exact_on_a_linear_model(norm: str, classes: int) -> None:
    """The distance is the least |f_k - f_y| / ||w_k - w_y||, dual norm; no wall in the way."""
    surrogate, network, x, y = linear(classes, spread=0.05)
    found = FAB(norm=norm, steps=5)(surrogate, x, y, seeds=torch.arange(COUNT))
    logits = surrogate.victim(x)
    gap = logits.gather(1, y[:, None]) - logits
    weight = network.weight[y][:, None] - network.weight
    away = gap / torch.linalg.vector_norm(weight, DUAL[norm], dim=2)
    exact = away.scatter(1, y[:, None], torch.inf).amin(1)
    assert 0 < found.amin() < found.amax() < 1
    ratio = distance(x, found, norm) / exact
    assert ratio.min() > 1
    assert ratio.max() < 1.0011  # 1.05 / 2^10: the overshoot after ten halvings
    assert (surrogate.victim(found).argmax(1) != y).all()


def test_exact_at_the_walls_of_the_box() -> None:
    """Black and white pixels: the shortest way in L∞ is a linear programme."""
    surrogate, network, x, y = linear(2, spread=0.5)
    x = ((x - 0.5) * 3 + 0.5).clamp(0, 1)
    y = surrogate.victim(x).argmax(1)
    x, y = x[:8], y[:8]
    found = FAB(steps=20)(surrogate, x, y, seeds=torch.arange(8))
    exact = []
    for image, label in zip(x.flatten(1).numpy(), y.tolist(), strict=True):
        weight = (network.weight[1 - label] - network.weight[label]).detach().numpy()
        gap = float(weight @ image + network.bias[1 - label] - network.bias[label])
        both = np.block([[np.eye(60), -np.ones((60, 1))], [-np.eye(60), -np.ones((60, 1))]])
        result = linprog(
            np.eye(61)[60],
            A_ub=np.vstack([both, [*-weight, 0]]),
            b_ub=[*np.zeros(120), gap],
            bounds=[*zip(-image, 1 - image, strict=True), (0, None)],
        )
        exact.append(float(result.fun))
    ratio = distance(x, found, "linf") / torch.tensor(exact)
    free = (surrogate.victim(x).diff(dim=1).abs()[:, 0]).double() / (
        network.weight.diff(dim=0).abs().sum()
    )
    assert (torch.tensor(exact) > 1.05 * free).any()  # walls did stand in the way
    assert ratio.min() > 1 - 1e-9
    assert ratio.max() < 1.005


@pytest.mark.by_default("twelve-l2", "twelve-linf")
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("toy", ["three", "twelve"])
def test_as_near_as_the_authors(norm: str, toy: str, toys: dict[str, Toys]) -> None:
    fab_pt = pytest.importorskip("pyautoattack.fab_pt")
    surrogate, x, y, seeds = toys[toy]
    peer = fab_pt.FABAttack_PT(
        surrogate.victim, norm={"linf": "Linf", "l2": "L2"}[norm], n_iter=20, eps=10.0
    )
    theirs = peer.attack_single_run(x, y)
    ours = FAB(norm=norm, steps=20)(surrogate, x, y, seeds=seeds)
    right = surrogate.victim(x).argmax(1) == y
    both = [distance(x, found, norm)[right] for found in (ours, theirs)]
    fooled = [(surrogate.victim(found).argmax(1) != y)[right] for found in (ours, theirs)]
    assert fooled[0].all()
    assert fooled[1].float().mean() > 0.9
    ratio = (both[0] / both[1])[fooled[1]]
    assert 0.97 < ratio.median() <= 1.0
    assert (ratio < 1.01).float().mean() > 0.95
    eps = both[1].median()
    assert (both[0] > eps).sum() <= (both[1] > eps).sum() + 3


def test_restarts_start_elsewhere_and_only_help(toys: dict[str, Toys]) -> None:
    surrogate, x, y, seeds = toys["twelve"]
    many = torch.rand(200, 3, 6, 5, generator=torch.Generator().manual_seed(6))
    names, labels = torch.arange(200), surrogate.victim(many).argmax(1)
    one, three = (
        distance(
            many, FAB(norm="l2", steps=5, restarts=n)(surrogate, many, labels, seeds=names), "l2"
        )
        for n in (1, 3)
    )
    assert (three > one * 1.001).sum() <= 3  # the last halving leaves a thousandth
    assert (three < one * 0.995).sum() > 0
    for norm in NORMS:
        attack = FAB(norm=norm, steps=1, restarts=2)
        assert not torch.equal(*(attack(surrogate, x, y, seeds=s) for s in (seeds, seeds + 1)))


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_are_at_half_the_distance_to_beat(norm: str, seeds: Tensor) -> None:
    clean = torch.full((4, 300), 0.5, dtype=torch.float64)
    found = torch.tensor([0.01, 0.05, 10.0, torch.inf], dtype=torch.float64)
    order = {"linf": torch.inf, "l2": 2.0}[norm]
    for attack, wanted in (
        (FAB(norm=norm), [0.01, 0.05, *[{"linf": 0.3, "l2": 1.0}[norm]] * 2]),
        (FAB(0.02, norm=norm), [0.01, 0.02, 0.02, 0.02]),
    ):
        start = attack._start(clean, found, seeds[:4])
        length = torch.linalg.vector_norm(start - clean, order, dim=1)
        torch.testing.assert_close(length, torch.tensor(wanted).double() / 2, rtol=1e-5, atol=0)


def test_early_stop_fools_the_same_for_less(toys: dict[str, Toys]) -> None:
    surrogate, x, y, seeds = toys["three"]
    eps = 0.018
    passes: list[int] = []
    handle = surrogate.victim.register_forward_pre_hook(
        lambda _, inputs: passes.append(len(inputs[0]))
    )
    found, cost = [], []
    for early in (False, True):
        passes.clear()
        found.append(FAB(eps, steps=20, early_stop=early)(surrogate, x, y, seeds=seeds))
        cost.append(sum(passes))
    handle.remove()
    fooled = [surrogate.victim(image).argmax(1) != y for image in found]
    assert torch.equal(*fooled)
    assert 0.2 < fooled[0].float().mean() < 0.8
    assert cost[1] < 0.7 * cost[0]
    assert distance(x, found[1], "linf").max() <= eps


@pytest.mark.slow
def test_bfloat16_victims(toys: dict[str, Toys], victim: Victim) -> None:
    """Near the boundary a step is below the spacing of pixels and logits tie; all still fall."""
    surrogate = VictimSurrogate(copy.deepcopy(victim).bfloat16())
    plain, x, y, seeds = toys["three"]
    x, y, seeds = x[:30], y[:30], seeds[:30]
    x16 = x.bfloat16()
    for norm in NORMS:
        found = FAB(norm=norm, steps=40)(surrogate, x16, y, seeds=seeds)
        assert (surrogate.victim(found).argmax(1) != y).float().mean() > 0.98
        full = FAB(norm=norm, steps=40)(plain, x, y, seeds=seeds)
        near, exact = distance(x16, found, norm).median(), distance(x, full, norm).median()
        if norm == "linf":
            assert near < exact + 2 / 256  # both images lie on a grid of 1/256
        else:
            assert near < 1.05 * exact


def test_channels_last_and_wide_images(wrap: Callable[..., VictimSurrogate]) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 5 * 17, 4))
    surrogate = wrap(network.double(), 1)
    surrogate.victim.double()
    x = torch.rand(6, 1, 7, 19, generator=torch.Generator().manual_seed(9)).double()
    y = surrogate.victim(x).argmax(1)
    found = FAB(norm="l2", steps=10)(surrogate, x, y, seeds=torch.arange(6))
    last = x.to(memory_format=torch.channels_last)
    other = FAB(norm="l2", steps=10)(surrogate, last, y, seeds=torch.arange(6))
    torch.testing.assert_close(found, other, atol=1e-9, rtol=0)
    assert (surrogate.victim(found).argmax(1) != y).all()


def test_not_a_number_is_reported(wrap: Callable[..., VictimSurrogate]) -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first = x.flatten(1)[:, :2]
            return torch.stack([first[:, 0] + 5, (0 * first[:, 1]).sqrt()], dim=1)

    x, y = torch.rand(3, 3, 4, 4), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(AttackError, match=r"FAB: loss or gradient is NaN for images \[0, 1, 2\]"):
        FAB(steps=2)(wrap(Root()), x, y, seeds=torch.arange(3))


def test_bad_input(toys: dict[str, Toys]) -> None:
    surrogate, x, _, seeds = toys["three"]
    for arguments, message in (
        ({"norm": "l1"}, r"attack\.norm='l1'"),
        ({"early_stop": True}, r"attack\.early_stop=true needs a budget"),
        ({"steps": 0}, r"attack\.steps=0"),
        ({"restarts": 0}, r"attack\.restarts=0"),
        ({"alpha_max": 1.5}, r"attack\.alpha_max=1\.5"),
        ({"eta": 0.9}, r"attack\.eta=0\.9"),
        ({"beta": -0.1}, r"attack\.beta=-0\.1"),
        ({"eps": 0}, r"attack\.eps=0"),
    ):
        with pytest.raises(ValueError, match=message):
            FAB(**arguments)  # type: ignore[arg-type]
    with pytest.raises(AttackError, match="FAB is defined for one label per image"):
        FAB()(surrogate, x, torch.zeros(len(x), 12, 12, dtype=torch.int64), seeds=seeds)
    with pytest.raises(ValueError, match="FAB needs two classes, the model has 1 logit"):
        wrong_classes(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("name", ["fab", "fab_t"])
def test_config(name: str) -> None:
    conf = str(Path(__file__).parents[2] / "conf")
    with initialize_config_dir(conf, version_base="1.3"):
        attack = instantiate(compose(overrides=[f"+attack={name}"]).attack)
        free = instantiate(compose(overrides=[f"+attack={name}", "attack.eps=null"]).attack)
        chosen = compose(overrides=[f"+attack={name}", "attack/target=least_likely"]).attack
    assert type(attack).__module__ == f"medrobust.attack.{name}"
    assert attack.eps == 8 / 255
    assert free.eps is None
    assert {*attack.settings} - {"class"} == {*type(attack)().settings} - {"class"}
    with pytest.raises(InstantiationException, match=r"LeastLikely: FABT? chooses its own classes"):
        instantiate(chosen)
