import copy
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from peers import adv_lib
from torch import Tensor, nn

from medrobust.attack.adapter.library import MissingLibraryError, library
from medrobust.attack.base import AttackError, distance
from medrobust.attack.external import External, LogitsModel
from medrobust.attack.fgsm import FGSM
from medrobust.model.victim import Victim
from medrobust.prediction import Prediction
from medrobust.rng import uniform
from medrobust.threat.surrogate import Surrogate, VictimSurrogate

CONF = Path(__file__).parents[2] / "conf"


def sign_step(model: nn.Module, images: Tensor, labels: Tensor, *, size: float) -> Tensor:
    images.requires_grad_()
    nn.functional.cross_entropy(model(images), labels).backward()
    assert images.grad is not None
    return (images + size * images.grad.sign()).clamp(0, 1)


def noise(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    change = torch.rand_like(images) + torch.from_numpy(np.random.rand(*images.shape)).float()
    change *= random.random()
    return (images + 0.01 * change).clamp(0, 1)


def test_any_callable(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attack = External(sign_step, arguments={"size": 0.02}, eps=0.02)
    with torch.inference_mode():
        found = attack(surrogate, images, labels, seeds=seeds)
    ours = FGSM(0.02)(surrogate, images, labels, seeds=seeds)
    torch.testing.assert_close(found, ours, atol=1e-6, rtol=0)


def test_its_budget_is_verified(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    with pytest.raises(AttackError, match="broke its budget: linf"):
        External(sign_step, arguments={"size": 0.03}, eps=0.02)(
            surrogate, images, labels, seeds=seeds
        )
    with pytest.raises(AttackError, match="broke its budget: l2"):
        External(sign_step, arguments={"size": 0.03}, eps=0.02, norm="l2")(
            surrogate, images, labels, seeds=seeds
        )
    External(sign_step, arguments={"size": 0.9})(surrogate, images, labels, seeds=seeds)


def test_random_numbers_are_seeded_and_given_back(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    attack = External(noise)
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    first = attack(surrogate, images, labels, seeds=seeds)
    after = torch.rand(2), np.random.rand(2), random.random()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    assert torch.equal(after[0], torch.rand(2))
    assert (after[1] == np.random.rand(2)).all()
    assert after[2] == random.random()
    assert torch.equal(first, attack(surrogate, images, labels, seeds=seeds))
    assert not torch.equal(first, attack(surrogate, images, labels, seeds=seeds + 1))


def test_careless_callable_leaves_no_trace(
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
    wrap: Callable[..., VictimSurrogate],
) -> None:
    def careless(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        assert not model.training
        next(model.children()).train()
        return sign_step(model, images, labels, size=0.0)

    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(), nn.Flatten(), nn.Linear(400, 3))
    own = wrap(network)
    own.victim.requires_grad_(True)
    modes = [module.training for module in own.modules()]
    External(careless)(own, images, labels, seeds=seeds)
    assert all(p.grad is None and p.requires_grad for p in own.victim.parameters())
    assert modes == [module.training for module in own.modules()]


def test_random_surrogate_gets_fresh_noise_each_call() -> None:
    class Noisy(Surrogate):
        @property
        def fingerprint(self) -> str:
            return "noisy"

        def forward(self, x: Tensor, seeds: Tensor, taps: object = ()) -> Prediction:
            return Prediction(uniform(seeds, (3,)))

    model = LogitsModel(Noisy(), torch.arange(4))
    x = torch.zeros(6, 1, 2, 2)  # another number of images than in the batch
    first, second = model(x), model(x)
    assert len(torch.cat([first, second]).unique(dim=0)) == 12


def test_paths() -> None:
    path = "medrobust.attack.adapter.foolbox.run"
    one = External(path, arguments={"steps": 3}, eps="8/255")
    assert one.fingerprint != External(path, arguments={"steps": 4}, eps="8/255").fingerprint
    for wrong in ("nowhere.at.all", "medrobust.attack.external.missing", "plain"):
        with pytest.raises(ValueError, match=r"attack\.call: nothing can be imported"):
            External(wrong)
    with pytest.raises(TypeError, match=r"External\.call is a function"):
        _ = External(noise).fingerprint
    with pytest.raises(ValueError, match=r"attack\.norm='l0'"):
        External(noise, norm="l0")


def test_fractions_among_the_arguments_are_numbers() -> None:
    given = {"eps": "8/255", "alpha": ".5/255", "path": "a/b", "date": "1/2/3", "steps": 3}
    made = External(noise, arguments=given).arguments
    assert made == {"eps": 8 / 255, "alpha": 0.5 / 255, "path": "a/b", "date": "1/2/3", "steps": 3}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_sees_float32_and_returns_what_the_victim_takes(
    dtype: torch.dtype, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """Rounding to a coarser dtype goes toward the clean image, so it breaks no budget."""
    seen: set[torch.dtype] = set()

    def watched(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        seen.update((images.dtype, model(images).dtype))
        return sign_step(model, images, labels, size=0.02)

    own = VictimSurrogate(copy.deepcopy(victim).to(dtype))
    x = images.to(dtype)
    found = External(watched, eps=0.02)(own, x, labels, seeds=seeds)
    assert seen == {torch.float32}
    assert found.dtype == dtype
    assert (distance(x, found, "linf") <= 0.02 + 1e-6).all()
    assert (distance(x, found, "linf") > 0.015).all()


@pytest.mark.parametrize(
    ("returned", "what"), [(None, "NoneType"), (torch.zeros(1, 3, 12, 12), r"\(1, 3, 12, 12\)")]
)
def test_what_is_no_batch_of_images_is_refused(
    returned: Any, what: str, surrogate: VictimSurrogate, images: Tensor, seeds: Tensor
) -> None:
    y = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(AttackError, match=f"returned {what}, expected a tensor of images"):
        External(lambda *_: returned)(surrogate, images[:3], y, seeds=seeds[:3])


@pytest.mark.parametrize("fast", [False, True])
def test_the_victim_cannot_be_changed_through_the_model(
    fast: bool, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """Moving it would drop its faster copy, training mode would move its running statistics."""

    def meddling(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        model.to("cpu").double().train()
        assert not any(module.training for module in model.modules())
        images.requires_grad_()
        for weight in model.parameters():
            weight.requires_grad_(True)
        nn.functional.cross_entropy(model(images), labels).backward()
        reached.append(any(weight.grad is not None for weight in model.parameters()))
        return images

    reached: list[bool] = []
    own = copy.deepcopy(victim)
    if fast:
        own.accelerate()
    own.requires_grad_(True)
    kept = next(own.parameters())
    kept.grad = torch.ones_like(kept)
    state = {name: value.clone() for name, value in own.state_dict().items()}
    External(meddling)(VictimSurrogate(own), images[:8], labels[:8], seeds=seeds[:8])
    assert all(torch.equal(state[name], value) for name, value in own.state_dict().items())
    assert (kept.grad == 1).all()
    assert all(weight.grad is None for weight in list(own.parameters())[1:])
    assert reached == [not fast]  # the faster copy has weights of its own
    if fast:
        with own.reduced_precision():  # it still has its faster copy
            own(images)


# Other libraries ------------------------------------------------------------------------------

EPS, STEP = 4 / 255, 1 / 255
LIBRARIES = ("torchattacks", "foolbox", "art", "adv_lib", "pyautoattack")


def directly(name: str, victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """Each library called by hand, as its manual says; deterministic attacks."""
    if name == "torchattacks":
        import torchattacks

        return torchattacks.BIM(victim, eps=EPS, alpha=STEP, steps=5)(x, y)
    if name == "foolbox":
        import foolbox

        attack = foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=STEP, steps=5)
        return attack(foolbox.PyTorchModel(victim, bounds=(0, 1)), x, y, epsilons=EPS)[1]
    if name == "art":
        from art.attacks.evasion import BasicIterativeMethod
        from art.estimators.classification import PyTorchClassifier

        model = PyTorchClassifier(
            victim, nn.CrossEntropyLoss(), (3, 12, 12), 3, clip_values=(0, 1), device_type="cpu"
        )
        attack = BasicIterativeMethod(model, EPS, STEP, max_iter=5, batch_size=128, verbose=False)
        return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))
    if name == "adv_lib":
        return adv_lib().pgd_linf(
            victim, x, y, EPS, steps=5, random_init=False, absolute_step_size=STEP
        )
    import pyautoattack

    attack = pyautoattack.AutoAttack(
        victim, eps=EPS, version="custom", attacks=["apgd-ce", "fab-t"], seed=SEED
    )
    attack.fab.n_target_classes = 2
    return attack.run_standard_evaluation(x, y, batch_size=len(x))[0]


ARGUMENTS: dict[str, dict[str, Any]] = {
    "torchattacks": {"attack": "torchattacks.BIM", "alpha": STEP, "steps": 5},
    "foolbox": {
        "attack": "foolbox.attacks.LinfBasicIterativeAttack",
        "abs_stepsize": STEP,
        "steps": 5,
    },
    "art": {
        "attack": "art.attacks.evasion.BasicIterativeMethod",
        "eps_step": STEP,
        "max_iter": 5,
        "batch_size": 128,
        "verbose": False,
    },
    "adv_lib": {
        "attack": "adv_lib.attacks.pgd_linf",
        "absolute_step_size": STEP,
        "steps": 5,
        "random_init": False,
    },
    "pyautoattack": {"version": "custom", "attacks": ["apgd-ce", "fab-t"]},
}
SEED = 11  # of the first image below


def adapted(name: str, eps: float = EPS, **more: Any) -> External:
    if name == "adv_lib":
        adv_lib()
    pytest.importorskip(name)
    arguments = {"eps": EPS, **ARGUMENTS[name], **more}
    return External(f"medrobust.attack.adapter.{name}.run", arguments=arguments, eps=eps)


@pytest.mark.parametrize("name", LIBRARIES)
def test_same_images_as_the_library_called_by_hand(
    name: str, victim: Victim, images: Tensor, labels: Tensor
) -> None:
    x, y = images[:24], labels[:24]
    own = copy.deepcopy(victim).requires_grad_(True)
    flags = [weight.requires_grad for weight in own.parameters()]
    state = {key: value.clone() for key, value in own.state_dict().items()}
    with torch.no_grad():
        found = adapted(name)(VictimSurrogate(own), x, y, seeds=SEED + torch.arange(24))
    assert all(weight.grad is None for weight in own.parameters())
    assert flags == [weight.requires_grad for weight in own.parameters()]
    assert not any(module.training for module in own.modules())
    assert all(torch.equal(state[key], value) for key, value in own.state_dict().items())
    by_hand = directly(name, copy.deepcopy(victim), x.clone(), y)
    torch.testing.assert_close(found, by_hand.detach(), atol=1e-6, rtol=0)
    assert (victim(found).argmax(1) != y).float().mean() > 0.3


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_librarys_budget_is_verified(
    name: str, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    with pytest.raises(AttackError, match="External broke its budget: linf"):
        adapted(name, eps=EPS / 2)(surrogate, images[:24], labels[:24], seeds=seeds[:24])


@pytest.mark.parametrize("name", LIBRARIES)
def test_bfloat16_float64_and_two_classes(name: str, images: Tensor) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 2))
    own = Victim(network, mean=[0.5], std=[0.25], architecture={}).freeze()
    for dtype in (torch.bfloat16, torch.float64):
        own.to(dtype)
        x = images[:6, :1].to(dtype)
        y = own(x).argmax(1)
        found = adapted(name)(VictimSurrogate(own), x, y, seeds=torch.arange(6))
        assert found.dtype == dtype
        assert (own(found).argmax(1) != y).any()


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_is_named_with_its_command(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, f"medrobust.attack.adapter.{name}", raising=False)
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not installed
    with pytest.raises(MissingLibraryError, match=rf"{name} is not installed; .* pip install"):
        External(f"medrobust.attack.adapter.{name}.run")


def test_a_broken_library_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "half_installed.py").write_text("import not_there_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        library("half_installed", "pip install half_installed")


@pytest.mark.parametrize("name", [name for name in LIBRARIES if name != "pyautoattack"])
def test_a_mistyped_attack_is_named(
    name: str, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    with pytest.raises(ValueError, match=rf"attack\.arguments\.attack: .* '{name}\.Missing'"):
        adapted(name, attack=f"{name}.Missing")(surrogate, images, labels, seeds=seeds)


def test_masks_reach_a_segmentation_attack(pixel_surrogate: VictimSurrogate) -> None:
    x = torch.rand(4, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    y = pixel_surrogate.victim(x).argmax(1)
    attack = External(
        "medrobust.attack.adapter.adv_lib.run",
        arguments={
            "attack": "adv_lib.attacks.segmentation.dag",
            "γ": "20/255",
            "max_iter": 40,
            "adv_threshold": 0.5,
        },
    )
    found = attack(pixel_surrogate, x, y, seeds=torch.arange(4))
    wrong = (pixel_surrogate.victim(found).argmax(1) != y).flatten(1).float().mean(1)
    assert (wrong >= 0.5).all()


def test_visdom_stand_in_is_gone_after_the_import() -> None:
    adv_lib()
    assert "visdom" not in sys.modules or sys.modules["visdom"].__spec__ is not None


def test_autoattack_is_refused_where_theirs_is_not_defined(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    standard = adapted("pyautoattack", version="standard", attacks=None)
    with pytest.raises(ValueError, match="apgd-t of pyautoattack needs 4 classes, the model has 3"):
        standard(surrogate, images, labels, seeds=seeds)


def test_autoattack_standard_on_four_classes_and_by_seed(
    row_surrogate: VictimSurrogate,
) -> None:
    """Theirs would aim at nine classes, and takes the time as its seed when given none."""
    x = torch.rand(12, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    y = row_surrogate.victim(x).argmax(1)
    attack = adapted("pyautoattack", version="standard", attacks=None, queries=20)
    tracer = sys.gettrace()
    found = [attack(row_surrogate, x, y, seeds=torch.arange(k, k + 12)) for k in (0, 0, 100)]
    assert sys.gettrace() is tracer
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert (row_surrogate.victim(found[0]).argmax(1) != y).any()


@pytest.mark.parametrize("name", ["", *(f"/{library}" for library in LIBRARIES)])
def test_config(
    name: str, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """Each file runs as it stands; one key sets the budget on both sides."""
    few = {"/pyautoattack": ["attack.arguments.version=custom", "attack.arguments.attacks=[fab-t]"]}
    with initialize_config_dir(str(CONF), version_base="1.3"):
        attack = instantiate(
            compose(overrides=[f"+attack=external{name}", *few.get(name, [])]).attack
        )
        tight = instantiate(
            compose(overrides=[f"+attack=external{name}", "attack.eps=2/255"]).attack
        )
    assert type(attack) is External
    assert len(attack.fingerprint) == 64
    assert (attack.eps, attack.arguments["eps"]) == (8 / 255, 8 / 255)
    assert (tight.eps, tight.arguments["eps"]) == (2 / 255, 2 / 255)
    found = attack(surrogate, images[:16], labels[:16], seeds=seeds[:16])
    assert (surrogate.victim(found).argmax(1) != labels[:16]).float().mean() > 0.5
