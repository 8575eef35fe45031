from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.norm import distance
from medrobust.attack.external import External
from medrobust.attack.fgsm import FGSM
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.rescaled import Rescaled
from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.attack.rays import RayS
from medrobust.attack.target.next_class import NextClass
from medrobust.attack.uap import UAP
from medrobust.defense.median import Median
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.defended import DefendedSurrogate
from medrobust.threat.mean_loss import MeanLossSurrogate
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from tests.support.toys import Noise, ToyData


class Shift(Attack):
    """Adds a constant: whatever a broken attack could return."""

    def __init__(self, eps: float, change: object) -> None:
        super().__init__(eps)
        self.change = change

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        return self.change(x)  # type: ignore[operator,no-any-return]


class ShiftL2(Shift):
    norm = "l2"


@pytest.fixture
def batch() -> tuple[Tensor, Tensor, Tensor]:
    return torch.full((4, 3, 6, 5), 0.5), torch.arange(4), sample_seeds(0, list("abcd"))


def spoil(x: Tensor) -> Tensor:
    x = x.clone()
    x[2, 0, 0, 0] = torch.nan
    return x


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x + 0.11, r"broke its budget: linf 0\.11.*> eps 0\.1 .*\[0, 1, 2, 3\]"),
        (lambda x: x + 0.1 * (1 + 2e-5), "broke its budget"),
        (lambda x: x[:3], r"returned torch\.float32 \(3, 3, 6, 5\)"),
        (lambda x: x.double(), r"returned torch\.float64"),
        (spoil, r"NaN or infinity for images \[2\]"),
        (lambda x: x + 0.6, r"left \[0, 1\]"),
        (lambda x: x - 0.6, r"left \[0, 1\]"),
    ],
    ids=["budget", "budget_by_little", "shape", "dtype", "nan", "above", "below"],
)
def test_breaches_are_caught(
    change: object, message: str, row_surrogate: VictimSurrogate, batch: tuple[Tensor, ...]
) -> None:
    x, y, seeds = batch
    with pytest.raises(AttackError, match=message):
        Shift(0.1, change)(row_surrogate, x, y, seeds=seeds)


def test_l2_budget_counts_the_whole_image(
    row_surrogate: VictimSurrogate, batch: tuple[Tensor, ...]
) -> None:
    x, y, seeds = batch
    length = 0.01 * (3 * 6 * 5) ** 0.5
    ShiftL2(length * (1 + 1e-5), lambda x: x + 0.01)(row_surrogate, x, y, seeds=seeds)
    with pytest.raises(AttackError, match="l2"):
        ShiftL2(length * 0.999, lambda x: x + 0.01)(row_surrogate, x, y, seeds=seeds)


def test_attack_that_writes_on_its_input_harms_no_one(
    row_surrogate: VictimSurrogate, batch: tuple[Tensor, ...]
) -> None:
    x, y, seeds = batch
    Shift(0.1, lambda x: x.add_(0))(row_surrogate, x, y, seeds=seeds)
    assert (x == 0.5).all()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, torch.full((4, 3, 6, 5), 128, dtype=torch.uint8), "expected float NCHW"),
        (0, torch.full((3, 6, 5), 0.5), "expected float NCHW"),
        (0, torch.full((4, 3, 6, 5), 1.5), "normalisation belongs inside the victim"),
        (0, torch.full((4, 3, 6, 5), torch.nan), r"expected \[0, 1\]"),
        (1, torch.zeros(4), "labels are torch.float32"),
        (1, torch.zeros(4, 1, dtype=torch.int64), "expected classes int64"),
        (1, torch.zeros(3, dtype=torch.int64), "for 4 images"),
        (2, torch.zeros(4), "medrobust.rng.sample_seeds"),
        (2, torch.zeros(3, dtype=torch.int64), "medrobust.rng.sample_seeds"),
    ],
)
def test_bad_input_is_refused(
    place: int,
    value: Tensor,
    message: str,
    row_surrogate: VictimSurrogate,
    batch: tuple[Tensor, ...],
) -> None:
    parts = list(batch)
    parts[place] = value
    with pytest.raises(AttackError, match=message):
        Shift(0.1, lambda x: x)(row_surrogate, parts[0], parts[1], seeds=parts[2])


def unfrozen(part: str) -> Victim:
    """A victim with batch norm and dropout of which a part is in training mode."""
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5), nn.Flatten(), nn.Linear(96, 4)
    )
    victim = Victim(network, mean=[0.5] * 3, std=[0.25] * 3, architecture={}).freeze()
    victim.get_submodule(part).train()
    return victim


class Normed(Median):
    """A purifier with a batch norm of its own, which nobody has frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return self.norm(super().purify(x, seeds=seeds)).sigmoid()  # type: ignore[no-any-return]


@pytest.mark.parametrize("part", ["", "network", "network.1", "network.2", "norm"])
def test_a_surrogate_in_training_mode_is_refused_and_left_alone(
    part: str, batch: tuple[Tensor, ...]
) -> None:
    x, y, seeds = batch
    surrogate: Surrogate
    if part == "norm":
        surrogate = DefendedSurrogate(unfrozen("").freeze(), Normed())
    else:
        surrogate = VictimSurrogate(unfrozen(part))
    before = {name: value.clone() for name, value in surrogate.state_dict().items()}
    with pytest.raises(AttackError, match=r"is in training mode.*call victim\.freeze\(\)"):
        PGD(0.1, steps=2)(surrogate, x, y, seeds=seeds)
    with pytest.raises(AttackError, match=r"call victim\.freeze\(\)"):
        UAP(0.1, epochs=1).fit(surrogate, ToyData(x, y))
    for name, value in surrogate.state_dict().items():
        assert torch.equal(value, before[name]), name
    if part != "norm":
        PGD(0.1, steps=2)(VictimSurrogate(unfrozen(part).freeze()), x, y, seeds=seeds)


def test_the_mode_of_what_does_not_depend_on_it_is_of_no_account(
    batch: tuple[Tensor, ...], row_surrogate: VictimSurrogate
) -> None:
    """Surrogates, defenses and containers are born in training mode."""
    x, y, seeds = batch
    surrogate = DefendedSurrogate(row_surrogate.victim, Median())
    assert surrogate.training
    assert surrogate.defense.training
    PGD(0.1, steps=1)(surrogate, x, y, seeds=seeds)


def library_attack(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """One step of cross-entropy, as a library takes it."""
    images = images.requires_grad_()
    loss = nn.functional.cross_entropy(model(images), labels)
    return (images + 0.01 * torch.autograd.grad(loss, images)[0].sign()).clamp(0, 1)


@pytest.mark.parametrize("wrong", [-100, -1, 4, 255])
@pytest.mark.parametrize(
    ("make", "defended"),
    [
        (lambda: PGD(0.1, steps=1), True),  # expectation over noise, on one graph per chunk
        (lambda: PGD(0.1, steps=1, target=NextClass()), False),  # (y + 1) % K is always a class
        (lambda: External(library_attack), False),
        (lambda: PGD(0.1, steps=1, loss=Rescaled(CrossEntropy())), False),
        (lambda: RayS(0.1, queries=5), False),  # sees nothing but wrong or right
    ],
    ids=["eot", "target", "external", "bound", "hard_label"],
)
def test_no_way_leads_around_the_check_of_labels(
    make: Callable[[], Attack],
    defended: bool,
    wrong: int,
    row_surrogate: VictimSurrogate,
    batch: tuple[Tensor, ...],
) -> None:
    x, y, seeds = batch
    y = y.clone()
    y[1] = wrong
    surrogate: Surrogate = row_surrogate
    if defended:
        surrogate = MeanLossSurrogate(row_surrogate.victim, Noise(), eot_samples=3, chunk=8)
    with pytest.raises(
        AttackError, match=rf"labels \[{wrong}\] of images \[1\].*4 classes, expected 0 to 3"
    ):
        make()(surrogate, x, y, seeds=seeds)


@pytest.mark.parametrize("wrong", [-100, 3, 255])
def test_no_value_of_a_mask_is_ignored(wrong: int, pixel_surrogate: Surrogate) -> None:
    y = torch.zeros(4, 6, 5, dtype=torch.int64)
    y[2, 0] = wrong
    with pytest.raises(AttackError, match=rf"labels \[{wrong}\] of images \[2\].*3 classes"):
        PGD(0.1, steps=1)(pixel_surrogate, torch.rand(4, 3, 6, 5), y, seeds=torch.arange(4))


def test_largest_eps() -> None:
    with pytest.raises(ValueError, match=r"attack\.eps=1.5"):
        Shift(1.5, None)
    assert ShiftL2(1.5, None).eps == 1.5


def test_distance_against_numpy() -> None:
    x, other = torch.rand(2, 5, 3, 4, 4)
    difference = (x.double() - other.double()).flatten(1).numpy()
    torch.testing.assert_close(
        distance(x, other, "l2").numpy(), (difference**2).sum(1) ** 0.5, rtol=1e-12, atol=0
    )
    torch.testing.assert_close(distance(x, other, "linf").numpy(), abs(difference).max(1))


def test_a_gradient_attack_on_a_black_box_is_refused(
    victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    surrogate = BlackBox()(victim, Median())
    with pytest.raises(AttackError, match="FGSM needs gradients and QuerySurrogate gives none"):
        FGSM(2 / 255)(surrogate, images, labels, seeds=seeds)


def test_an_attack_for_labels_refuses_masks(pixel_surrogate: Surrogate) -> None:
    class Labels(PGD):
        dense = False

    x, y = torch.rand(2, 3, 6, 6), torch.zeros(2, 6, 6, dtype=torch.int64)
    with pytest.raises(AttackError, match="one label per image, this task is segmentation"):
        Labels(2 / 255, steps=1)(pixel_surrogate, x, y, seeds=torch.arange(2))


def test_norm_is_part_of_what_an_attack_is() -> None:
    assert PGD(2 / 255, steps=1).settings["norm"] == "linf"
    assert PGDL2(0.5, steps=1).settings["norm"] == "l2"
