"""What the whole suite promises, on any number of classes, any model, any mode: one table."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.apgd_ce import APGDCE
from medrobust.attack.apgd_dlr import APGDDLR
from medrobust.attack.apgd_t import APGDT
from medrobust.attack.autoattack import AutoAttack
from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.norm import distance
from medrobust.attack.cw_l2 import CWL2
from medrobust.attack.dag import DAG
from medrobust.attack.ddn import DDN
from medrobust.attack.deepfool import DeepFool
from medrobust.attack.dim import DIM
from medrobust.attack.fab import FAB
from medrobust.attack.fab_t import FABT
from medrobust.attack.fmn import FMN
from medrobust.attack.hopskipjump import HopSkipJump
from medrobust.attack.nes import NES
from medrobust.attack.rays import RayS
from medrobust.attack.sini_fgsm import SINIFGSM
from medrobust.attack.smia import SMIA
from medrobust.attack.spsa import SPSA
from medrobust.attack.square import Square
from medrobust.attack.tim import TIM
from medrobust.attack.vmi_fgsm import VMIFGSM
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.kinds import one_of_each, slow_unless

EPS = 6 / 255
Make = Callable[[], Attack]

GRADIENT: dict[str, Make] = {
    "apgd_ce": lambda: APGDCE(EPS, steps=6),
    "apgd_ce_l2": lambda: APGDCE(18 * EPS, norm="l2", steps=6),
    "apgd_ce_early": lambda: APGDCE(EPS, steps=6, early_stop=True),
    "apgd_dlr": lambda: APGDDLR(EPS, steps=6),
    "apgd_t": lambda: APGDT(EPS, steps=6),
    "dim": lambda: DIM(EPS, steps=4),
    "tim": lambda: TIM(EPS, steps=4, kernel_size=3),
    "vmi_fgsm": lambda: VMIFGSM(EPS, steps=4, neighbours=3),
    "sini_fgsm": lambda: SINIFGSM(EPS, steps=4, copies=2),
    "smia": lambda: SMIA(EPS, steps=4),
    "autoattack": lambda: AutoAttack(EPS, steps=5, queries=20),
}
NEAREST: dict[str, Make] = {
    "cw_l2": lambda: CWL2(18 * EPS, steps=25, lr=0.03, initial_const=1.0, binary_search_steps=2),
    "deepfool": lambda: DeepFool(18 * EPS),
    "deepfool_linf": lambda: DeepFool(EPS, norm="linf"),
    "ddn": lambda: DDN(18 * EPS, steps=15),
    "fmn_l2": lambda: FMN(18 * EPS, steps=20, norm="l2"),
    "fmn_linf": lambda: FMN(EPS, steps=20, norm="linf"),
    "fab": lambda: FAB(EPS, steps=10),
    "fab_l2": lambda: FAB(18 * EPS, norm="l2", steps=10),
    "fab_t": lambda: FABT(EPS, steps=10),
}
QUERY: dict[str, Make] = {
    "square": lambda: Square(EPS, queries=160),
    "square_l2": lambda: Square(18 * EPS, norm="l2", queries=300),
    "spsa": lambda: SPSA(EPS, steps=12, samples=16),
    "nes": lambda: NES(EPS, steps=8, samples=16),
    "rays": lambda: RayS(2 * EPS, queries=300),
    "hopskipjump": lambda: HopSkipJump(36 * EPS, queries=400),
}
ALL = GRADIENT | NEAREST | QUERY
KINDS = {"apgd_t", "smia", "autoattack", "cw_l2", "fab", "square", "nes", "hopskipjump"}
"""One attack of each kind: gradients, a chain, two to the nearest image, three by queries."""
every = pytest.mark.parametrize("make", ALL.values(), ids=ALL.keys())
kinds = pytest.mark.parametrize("make", one_of_each(ALL, KINDS))


@pytest.fixture(scope="module")
def rows(row_surrogate: VictimSurrogate) -> tuple[Tensor, Tensor, Tensor]:
    """13 images (3, 6, 5) with a black border, most of them right."""
    x = torch.rand(13, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    x[:, :, 0] = 0.0
    y = row_surrogate.victim(x).argmax(1)
    y[-2:] = (y[-2:] + 1) % 4
    return x, y, sample_seeds(1, [str(i) for i in range(13)])


def right(victim: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return victim(x).argmax(1) == y


@every
def test_keeps_to_its_budget_and_fools(
    make: Make, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attack, x, y = make(), images[:60], labels[:60]
    found = attack(surrogate, x, y, seeds=seeds[:60])
    assert attack.eps is not None
    assert distance(x, found, attack.norm).max() <= attack.eps * (1 + 1e-6)
    noise = attack.eps * torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).sign()
    noisy = right(surrogate.victim, (x + noise / (18 if attack.norm == "l2" else 1)).clamp(0, 1), y)
    left = right(surrogate.victim, found, y)
    assert left.float().mean() < noisy.float().mean() - 0.1


@every
@pytest.mark.parametrize("label", [-100, 4])
def test_labels_that_are_no_classes_are_refused(
    make: Make, label: int, row_surrogate: VictimSurrogate, rows: tuple[Tensor, Tensor, Tensor]
) -> None:
    """-100 is what torch's cross-entropy ignores: its image would come back without an attack."""
    x, y, seeds = rows
    y = y.clone()
    y[[2, 5]] = label
    with pytest.raises(AttackError, match=rf"labels \[{label}\] of images \[2, 5\].*4 classes"):
        make()(row_surrogate, x, y, seeds=seeds)


@pytest.mark.parametrize("make", one_of_each(ALL, set(ALL) - {"square", "square_l2"}))
def test_the_same_bits_in_any_batch_and_order(
    make: Make, row_surrogate: VictimSurrogate, rows: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, seeds = rows
    attack = make()
    whole = attack.craft(row_surrogate, x, y, seeds=seeds)
    order = torch.arange(12, -1, -1)
    parts = [
        attack.craft(row_surrogate, x[rows], y[rows], seeds=seeds[rows])
        for rows in order.split([1, 5, 7])
    ]
    assert torch.equal(whole.images[order], torch.cat([part.images for part in parts]))
    if whole.queries is not None:
        counts = [part.queries for part in parts if part.queries is not None]
        assert torch.equal(whole.queries[order], torch.cat(counts))


@kinds
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_any_gradient_mode_and_nothing_left_behind(
    make: Make,
    mode: Callable[[], torch.autograd.grad_mode.no_grad],
    row_surrogate: VictimSurrogate,
    rows: tuple[Tensor, Tensor, Tensor],
) -> None:
    x, y, seeds = rows
    before = x.clone(), y.clone(), seeds.clone()
    victim = copy.deepcopy(row_surrogate.victim).requires_grad_(True)
    plain = make()(VictimSurrogate(victim), x, y, seeds=seeds)
    assert all(map(torch.equal, before, rows))
    assert all(parameter.grad is None for parameter in victim.parameters())
    assert not any(module.training for module in victim.modules())
    torch.manual_seed(11)  # global generators have no say
    state = torch.get_rng_state()
    with mode():
        found = make()(VictimSurrogate(victim), x, y, seeds=seeds)
    assert torch.equal(plain, found)
    assert torch.equal(state, torch.get_rng_state())


COUNTS = [
    slow_unless(
        classes < 4 or (classes == 7 and name in KINDS), make, classes, id=f"{name}-{classes}"
    )
    for name, make in ALL.items()
    for classes in (2, 3, 4, 7, 12)
]


@pytest.mark.parametrize(("make", "classes"), COUNTS)
def test_any_number_of_classes(make: Make, classes: int) -> None:
    """The references raise an index error below ten classes; a single logit is two classes."""
    torch.manual_seed(classes)
    network = nn.Sequential(nn.Flatten(), nn.Linear(2 * 7 * 4, 1 if classes == 2 else classes))
    victim = Victim(network, mean=[0.5] * 2, std=[0.1] * 2, architecture={}).freeze()
    x = torch.rand(8, 2, 7, 4)
    y = victim(x).argmax(1)
    found = make()(VictimSurrogate(victim), x, y, seeds=torch.arange(8))
    moved = (found != x).flatten(1).any(1)
    assert moved.any()
    assert not right(victim, found, y).all()


@kinds
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_and_layouts(make: Make, dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(40, 3))
    victim = Victim(network, mean=[0.5], std=[0.2], architecture={}).freeze().to(dtype)
    x = torch.rand(5, 1, 7, 4).to(dtype)
    y = victim(x).argmax(1)
    attack = make()
    found = attack(VictimSurrogate(victim), x, y, seeds=torch.arange(5))
    assert found.dtype == dtype
    if dtype == torch.float64:
        last = x.to(memory_format=torch.channels_last)
        again = attack(VictimSurrogate(victim), last, y, seeds=torch.arange(5))
        torch.testing.assert_close(found, again, atol=1e-9, rtol=0)


@every
def test_wrong_already_stays_wrong(
    make: Make, surrogate: VictimSurrogate, images: Tensor, seeds: Tensor
) -> None:
    wrong = (surrogate.victim(images[:9]).argmax(1) + 1) % 3
    found = make()(surrogate, images[:9], wrong, seeds=seeds[:9])
    assert not right(surrogate.victim, found, wrong).any()


@every
def test_a_flat_model_does_no_damage(
    make: Make, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x.flatten(1)[:, :3] + torch.tensor([1.0, 0.0, 0.0])

    victim = Victim(Flat(), mean=[0.5] * 3, std=[0.2] * 3, architecture={}).freeze()
    x = images[:6]
    assert make()(VictimSurrogate(victim), x, labels[:6], seeds=seeds[:6]).isfinite().all()


@every
def test_masks_are_attacked_or_refused(make: Make, pixel_surrogate: VictimSurrogate) -> None:
    x = torch.rand(4, 3, 10, 14, generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        y = pixel_surrogate.victim(x).argmax(1)
    attack, seeds = make(), torch.arange(4)
    if attack.dense:
        found = attack(pixel_surrogate, x, y, seeds=seeds)
        agree = (pixel_surrogate.victim(found).argmax(1) == y).float().mean()
        assert agree < 1
    else:
        with pytest.raises(AttackError, match="one label per image"):
            attack(pixel_surrogate, x, y, seeds=seeds)


HARD = ("rays", "hopskipjump")
SCORED = [slow_unless(name not in HARD, name, "scores", id=f"{name}-scores") for name in QUERY]


@pytest.mark.parametrize(("name", "answer"), [*SCORED, *((name, "labels") for name in QUERY)])
def test_queries_to_a_black_box_are_counted(
    name: str, answer: str, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """What a row calls queries is what passed the deployed system."""
    surrogate, few = BlackBox(answer)(victim, NoDefense()), slice(20)
    if answer == "labels" and name not in HARD:
        with pytest.raises(AttackError, match="needs scores"):
            ALL[name]().craft(surrogate, images[few], labels[few], seeds=seeds[few])
        return
    passed: list[int] = []
    handle = victim.register_forward_pre_hook(lambda _, inputs: passed.append(len(inputs[0])))
    crafted = ALL[name]().craft(surrogate, images[few], labels[few], seeds=seeds[few])
    handle.remove()
    assert crafted.queries is not None
    assert int(crafted.queries.sum()) == sum(passed)


@pytest.mark.parametrize("make", (GRADIENT | NEAREST).values(), ids=(GRADIENT | NEAREST).keys())
def test_gradient_attacks_refuse_a_black_box(
    make: Make, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    with pytest.raises(AttackError, match="needs gradients"):
        make()(BlackBox()(victim, NoDefense()), images[:2], labels[:2], seeds=seeds[:2])


SATURATED = ["apgd_dlr", "apgd_t", "autoattack", "square", "deepfool", "fab", "fab_t", "rays"]


@pytest.mark.parametrize("name", one_of_each(SATURATED, {"apgd_t", "square", "deepfool", "fab"}))
def test_saturated_logits_hide_nothing_from_scale_free_attacks(
    name: str, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    class Saturated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = victim.network

        def forward(self, x: Tensor) -> Tensor:
            return 1e4 * self.network(x)

    hard = Victim(Saturated(), mean=[0.5] * 3, std=[0.25] * 3, architecture={}).freeze()
    x, y, s = images[:40], labels[:40], seeds[:40]
    plain = right(victim, ALL[name]()(VictimSurrogate(victim), x, y, seeds=s), y)
    found = right(victim, ALL[name]()(VictimSurrogate(hard), x, y, seeds=s), y)
    assert abs(int(plain.sum()) - int(found.sum())) <= 1


def test_dense_adversary_refuses_labels(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    with pytest.raises(AttackError, match="segmentation and detection, this task is class"):
        DAG(EPS, steps=2)(surrogate, images[:2], labels[:2], seeds=seeds[:2])
