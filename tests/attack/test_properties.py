"""What every attack promises, as one table over all attacks."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.apgd_ce import APGDCE
from medrobust.attack.apgd_dlr import APGDDLR
from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack
from medrobust.attack.core.norm import distance
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.decayed_pgd import DecayedPGD
from medrobust.attack.dim import DIM
from medrobust.attack.fgsm import FGSM
from medrobust.attack.mim import MIM
from medrobust.attack.momentum_pgd import MomentumPGD
from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.attack.sini_fgsm import SINIFGSM
from medrobust.attack.smia import SMIA
from medrobust.attack.target.least_likely import LeastLikely
from medrobust.attack.target.next_class import NextClass
from medrobust.attack.tim import TIM
from medrobust.attack.vmi_fgsm import VMIFGSM
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.kinds import one_of_each

Make = Callable[..., Attack]


def in_l2(eps: float) -> float:
    """The radius of an L2 ball of like effect on 3 x 12 x 12; what is no number passes."""
    return 18 * eps if isinstance(eps, float | int) else eps


def wider(eps: float) -> float:
    """Half as much again; what is no number passes."""
    return 1.5 * eps if isinstance(eps, float | int) else eps


ATTACKS: dict[str, Make] = {
    "fgsm": FGSM,
    "bim": lambda eps, steps=5, **rest: BIM(eps, steps=steps, **rest),
    "pgd": lambda eps, steps=5, **rest: PGD(eps, steps=steps, **rest),
    "pgd_restarts": lambda eps, steps=3, **rest: PGD(eps, steps=steps, restarts=2, **rest),
    "pgd_l2": lambda eps, steps=5, **rest: PGDL2(in_l2(eps), steps=steps, **rest),
    "momentum_pgd": lambda eps, steps=5, **rest: MomentumPGD(eps, steps=steps, **rest),
    "mim": lambda eps, steps=5, **rest: MIM(eps, steps=steps, **rest),
    "cw_linf": lambda eps, steps=5, **rest: CWLinf(eps, steps=steps, **rest),
    # Small images: fewer shrunk, a smaller kernel.
    "dim": lambda eps, steps=5, **rest: DIM(wider(eps), steps=steps, diversity_prob=0.3, **rest),
    "tim": lambda eps, steps=5, **rest: TIM(eps, steps=steps, kernel_size=3, **rest),
    "vmi_fgsm": lambda eps, steps=5, **rest: VMIFGSM(eps, steps=steps, neighbours=3, **rest),
    "sini_fgsm": lambda eps, steps=5, **rest: SINIFGSM(wider(eps), steps=steps, copies=3, **rest),
    "smia": lambda eps, steps=5, **rest: SMIA(eps, steps=steps, **rest),
    "decayed_pgd": lambda eps, steps=5, **rest: DecayedPGD(
        eps, steps=steps, after=[max(1, 4 * steps // 5)], **rest
    ),
    "apgd_ce": lambda eps, steps=5, **rest: APGDCE(eps, steps=steps, **rest),
    "apgd_dlr": lambda eps, steps=5, **rest: APGDDLR(eps, steps=steps, **rest),
}
ITERATED = [name for name in ATTACKS if name != "fgsm"]
RANDOM = ["pgd", "momentum_pgd", "decayed_pgd", "pgd_restarts", "pgd_l2", "cw_linf"]
EPS = 2 / 255
COUNT = 90

KINDS = {"fgsm", "pgd_restarts", "pgd_l2", "dim", "apgd_ce"}
"""One step, restarts from random places, the other norm, a random change of the image, and steps
of a size that adapts."""

every = pytest.mark.parametrize("make", ATTACKS.values(), ids=ATTACKS.keys())
iterated = pytest.mark.parametrize("make", [ATTACKS[n] for n in ITERATED], ids=ITERATED)
kinds = pytest.mark.parametrize("make", one_of_each(ATTACKS, KINDS))
iterated_kinds = pytest.mark.parametrize(
    "make", one_of_each({name: ATTACKS[name] for name in ITERATED}, KINDS - {"fgsm"})
)


def right(surrogate: VictimSurrogate, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return surrogate.victim(x).argmax(1) == y


@pytest.fixture(scope="module", name="images")
def fewer_images(images: Tensor) -> Tensor:
    return images[:COUNT]


@pytest.fixture(scope="module", name="labels")
def fewer_labels(labels: Tensor) -> Tensor:
    return labels[:COUNT]


@pytest.fixture(scope="module", name="seeds")
def fewer_seeds(seeds: Tensor) -> Tensor:
    return seeds[:COUNT]


@pytest.fixture(scope="module")
def rows() -> tuple[Tensor, Tensor, Tensor]:
    """37 images (3, 6, 5) with a black border."""
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(37, 3, 6, 5, generator=generator)
    x[:, :, 0] = 0.0
    y = torch.randint(4, (37,), generator=generator)
    return x, y, sample_seeds(1, [str(i) for i in range(37)])


def test_toy_is_worth_attacking(surrogate: VictimSurrogate, images: Tensor, labels: Tensor) -> None:
    assert right(surrogate, images, labels).float().mean() > 0.9


@every
def test_in_the_ball_and_uses_it(
    make: Make, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attack = make(EPS)
    found = attack(surrogate, images, labels, seeds=seeds)
    used = distance(images, found, attack.norm)
    assert attack.eps is not None
    assert found.amin() >= 0
    assert found.amax() <= 1
    assert used.max() <= attack.eps * (1 + 1e-6)
    if attack.norm == "linf":
        assert used.max() <= attack.eps  # exact: the bounds are rounded inward
    assert used.median() > 0.9 * attack.eps


@kinds
def test_inputs_are_left_alone(
    make: Make, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    before = images.clone(), labels.clone(), seeds.clone()
    found = make(EPS)(surrogate, images, labels, seeds=seeds)
    assert all(map(torch.equal, before, (images, labels, seeds)))
    assert not found.requires_grad
    assert found.data_ptr() != images.data_ptr()


@every
def test_weights_and_modes_are_left_alone(
    make: Make, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    victim = copy.deepcopy(victim)
    victim.requires_grad_(True)  # a careless caller: still no gradient may stay behind
    modes = [module.training for module in victim.modules()]
    state = {name: tensor.clone() for name, tensor in victim.state_dict().items()}
    make(EPS)(VictimSurrogate(victim), images[:16], labels[:16], seeds=seeds[:16])
    assert all(parameter.grad is None for parameter in victim.parameters())
    assert modes == [module.training for module in victim.modules()]
    assert all(torch.equal(state[name], tensor) for name, tensor in victim.state_dict().items())


@kinds
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_any_gradient_mode(
    make: Make,
    mode: Callable[[], torch.autograd.grad_mode.no_grad],
    row_surrogate: VictimSurrogate,
    rows: tuple[Tensor, Tensor, Tensor],
) -> None:
    x, y, seeds = rows
    plain = make(EPS)(row_surrogate, x, y, seeds=seeds)
    with mode():
        found = make(EPS)(row_surrogate, x.clone(), y.clone(), seeds=seeds.clone())
    assert torch.equal(plain, found)


@every
def test_deterministic_by_seed(
    make: Make, row_surrogate: VictimSurrogate, rows: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, seeds = rows
    torch.manual_seed(0)
    first = make(EPS)(row_surrogate, x, y, seeds=seeds)
    torch.manual_seed(1)  # global generators have no say
    assert torch.equal(first, make(EPS)(row_surrogate, x, y, seeds=seeds))


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_another_start(
    name: str, row_surrogate: VictimSurrogate, rows: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, seeds = rows
    other = sample_seeds(2, [str(i) for i in range(len(x))])
    attack = ATTACKS[name](EPS, steps=2, step_size=EPS / 10)  # too small to forget the start
    found = [attack(row_surrogate, x, y, seeds=s) for s in (seeds, other)]
    differs = (found[0] != found[1]).flatten(1).any(1)
    assert differs.float().mean() > 0.9


CASES = [(name, False) for name in ATTACKS] + [(name, True) for name in ITERATED]


@pytest.mark.parametrize(("name", "early"), CASES)
def test_batch_size_changes_no_bit(
    name: str,
    early: bool,
    row_surrogate: VictimSurrogate,
    rows: tuple[Tensor, Tensor, Tensor],
) -> None:
    attack = ATTACKS[name](EPS, early_stop=True) if early else ATTACKS[name](EPS)
    x, y, seeds = rows
    whole = attack(row_surrogate, x, y, seeds=seeds)
    parts = [
        attack(row_surrogate, x[rows], y[rows], seeds=seeds[rows])
        for rows in torch.arange(len(x)).split([1, 1, 5, 14, 16])
    ]
    assert torch.equal(whole, torch.cat(parts))


@every
def test_order_changes_no_bit(
    make: Make, row_surrogate: VictimSurrogate, rows: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, seeds = rows
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(6))
    found = make(EPS)(row_surrogate, x, y, seeds=seeds)
    shuffled = make(EPS)(row_surrogate, x[order], y[order], seeds=seeds[order])
    assert torch.equal(found[order], shuffled)


@kinds
def test_batch_size_on_a_convnet(
    make: Make, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """A convolution rounds differently in another batch; in float64 that decides no sign."""
    surrogate = VictimSurrogate(copy.deepcopy(victim).double())
    x, y, s = images[:10].double(), labels[:10], seeds[:10]
    whole = make(EPS)(surrogate, x, y, seeds=s)
    parts = [
        make(EPS)(surrogate, x[rows], y[rows], seeds=s[rows])
        for rows in torch.arange(10).split([1, 2, 7])
    ]
    torch.testing.assert_close(whole, torch.cat(parts), atol=1e-9, rtol=0)


@kinds
def test_stronger_than_noise_and_total_at_large_eps(
    make: Make, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    clean = right(surrogate, images, labels)
    noise = 2 * EPS * torch.randn(images.shape, generator=torch.Generator().manual_seed(7)).sign()
    noisy = right(surrogate, (images + noise).clamp(0, 1), labels).float().mean()
    small = right(surrogate, make(2 * EPS)(surrogate, images, labels, seeds=seeds), labels)
    assert small.float().mean() < noisy - 0.1
    assert small.float().mean() < clean.float().mean() - 0.1
    if make is not FGSM:  # one step of 0.5 may overshoot
        large = make(0.5, steps=20)(surrogate, images, labels, seeds=seeds)
        assert not right(surrogate, large, labels).any()


@iterated_kinds
def test_more_steps_are_not_weaker(
    make: Make, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    left = [
        right(surrogate, make(EPS, steps=steps)(surrogate, images, labels, seeds=seeds), labels)
        for steps in (1, 5, 20)
    ]
    one, five, twenty = (int(part.sum()) for part in left)
    noise = 1  # image of 90
    assert five <= one + noise
    assert twenty <= five + noise


@iterated
def test_early_stop_fools_the_same_images(
    make: Make, row_surrogate: VictimSurrogate, rows: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, _, seeds = rows
    y = row_surrogate.victim(x).argmax(1)
    whole = make(EPS)(row_surrogate, x, y, seeds=seeds)
    early = make(EPS, early_stop=True)(row_surrogate, x, y, seeds=seeds)
    fooled = ~right(row_surrogate, whole, y)
    assert torch.equal(fooled, ~right(row_surrogate, early, y))
    assert 0 < fooled.sum() < len(x)


@iterated_kinds
def test_early_stop_costs_less(
    make: Make, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    passes: list[int] = []
    handle = surrogate.register_forward_pre_hook(lambda _, inputs: passes.append(len(inputs[0])))
    try:
        make(8 * EPS, steps=10)(surrogate, images, labels, seeds=seeds)
        whole, passes = sum(passes), []
        make(8 * EPS, steps=10, early_stop=True)(surrogate, images, labels, seeds=seeds)
    finally:
        handle.remove()
    assert sum(passes) < 0.6 * whole


@kinds
@pytest.mark.parametrize("rule", [NextClass, LeastLikely])
def test_targeted_reaches_its_target(
    make: Make,
    rule: type[NextClass] | type[LeastLikely],
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    with torch.no_grad():
        target = rule()(surrogate.victim(images), labels, seeds)
        before = (surrogate.victim(images).argmax(1) == target).float().mean()
        found = make(10 * EPS, target=rule())(surrogate, images, labels, seeds=seeds)
        after = (surrogate.victim(found).argmax(1) == target).float().mean()
    assert before < 0.2
    assert after > (0.8 if make is FGSM else 0.95)


@every
def test_masks(make: Make, pixel_surrogate: VictimSurrogate) -> None:
    generator = torch.Generator().manual_seed(8)
    x = torch.rand(9, 3, 10, 14, generator=generator)
    with torch.no_grad():
        y = pixel_surrogate.victim(x).argmax(1)
        found = make(8 * EPS)(pixel_surrogate, x, y, seeds=torch.arange(9))
        wrong = (pixel_surrogate.victim(found).argmax(1) != y).float().mean()
    assert wrong > 0.3


@kinds
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(
    make: Make,
    dtype: torch.dtype,
    victim: Victim,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    surrogate = VictimSurrogate(copy.deepcopy(victim).to(dtype))
    x = images.to(dtype)
    attack = make(2 * EPS)
    found = attack(surrogate, x, labels, seeds=seeds)
    assert found.dtype == dtype
    assert attack.eps is not None
    assert distance(x, found, attack.norm).max() <= attack.eps * (1 + 1e-6)
    plain = attack(VictimSurrogate(victim), images, labels, seeds=seeds)
    single = right(VictimSurrogate(victim), plain, labels).float().mean()
    left = right(surrogate, found, labels).float().mean()
    if dtype == torch.bfloat16:  # part of the ball lies between two bfloat16
        clean = right(surrogate, x, labels).float().mean()
        assert clean - left > (clean - single) / 2
    else:
        assert left < single + 0.03


@pytest.mark.by_default("bim")
@pytest.mark.parametrize("make", [ATTACKS["bim"], ATTACKS["pgd_l2"]], ids=["bim", "pgd_l2"])
def test_small_steps_are_not_lost_in_bfloat16(
    make: Make, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """A step of eps / 50 is below half a bfloat16 spacing of most pixels."""
    surrogate = VictimSurrogate(copy.deepcopy(victim).bfloat16())
    x = images.bfloat16()
    attack = make(4 * EPS, steps=50)
    found = attack(surrogate, x, labels, seeds=seeds)
    plain = attack(VictimSurrogate(victim), images, labels, seeds=seeds)
    single = right(VictimSurrogate(victim), plain, labels).float().mean()
    assert single < 0.4
    # Rounding into the ball costs some of the budget; steps that are lost would cost all of it.
    assert right(surrogate, found, labels).float().mean() < single + 0.2


@kinds
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_sizes_and_layouts(make: Make, channels: int) -> None:
    network = nn.Sequential(
        nn.Conv2d(channels, 4, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 2),
    )
    victim = Victim(network, mean=[0.5] * channels, std=[0.2] * channels, architecture={}).freeze()
    surrogate = VictimSurrogate(victim.double())
    x = torch.rand(
        6, channels, 7, 19, generator=torch.Generator().manual_seed(9), dtype=torch.float64
    )
    y, seeds = torch.arange(6) % 2, torch.arange(6)
    found = make(EPS)(surrogate, x, y, seeds=seeds)
    last = make(EPS)(surrogate, x.to(memory_format=torch.channels_last), y, seeds=seeds)
    torch.testing.assert_close(found, last, atol=1e-9, rtol=0)
    assert found.shape == x.shape


@kinds
def test_grey_image_stays_grey(
    make: Make, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    grey = images.mean(1, keepdim=True)[:8]
    assert make(EPS)(surrogate, grey, labels[:8], seeds=seeds[:8]).shape == (8, 1, 12, 12)


@iterated_kinds
@pytest.mark.parametrize("early", [False, True])
def test_all_wrong_already(
    make: Make, early: bool, surrogate: VictimSurrogate, images: Tensor, seeds: Tensor
) -> None:
    wrong = (surrogate.victim(images).argmax(1) + 1) % 3
    found = make(EPS, early_stop=early)(surrogate, images, wrong, seeds=seeds)
    assert not right(surrogate, found, wrong).any()


@every
def test_empty_batch(make: Make, surrogate: VictimSurrogate, images: Tensor) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert make(EPS)(surrogate, images[:0], none, seeds=none).shape == (0, 3, 12, 12)


@every
def test_no_gradient_no_damage(make: Make, images: Tensor, labels: Tensor, seeds: Tensor) -> None:
    """A model that saturates to a constant: nothing to find, nothing divided by zero."""

    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x.flatten(1)[:, :3] + torch.tensor([1.0, 0.0, 0.0])

    victim = Victim(Flat(), mean=[0.5] * 3, std=[0.2] * 3, architecture={}).freeze()
    found = make(EPS)(VictimSurrogate(victim), images, labels, seeds=seeds)
    assert found.isfinite().all()


@every
@pytest.mark.parametrize("eps", [0, -0.1, "-8/255", "8/0", "much", None, float("nan")])
def test_bad_eps_is_refused(make: Make, eps: float | str | None) -> None:
    with pytest.raises(ValueError, match=r"attack\.eps="):
        make(eps)


@iterated
@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_bad_steps_are_refused(make: Make, steps: int) -> None:
    with pytest.raises(ValueError, match=r"attack\.steps="):
        make(EPS, steps=steps)


@iterated
@pytest.mark.parametrize("size", [0, -1, "big", 1e5])
def test_bad_step_size_is_refused(make: Make, size: float) -> None:
    with pytest.raises(ValueError, match=r"attack\.step_size="):
        make(EPS, step_size=size)


@every
def test_settings_hold_every_argument(make: Make) -> None:
    base = make(EPS)
    assert make(EPS).fingerprint == base.fingerprint
    assert make(2 * EPS).fingerprint != base.fingerprint
    assert make(EPS, target=NextClass()).fingerprint != base.fingerprint
    assert base.settings["target"] is None
    assert "criterion" in base.settings
