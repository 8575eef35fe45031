"""Each library's adapter against the library called by hand."""

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from medrobust.attack.adapter.library import MissingLibraryError, library
from medrobust.attack.core.base import AttackError
from medrobust.attack.external import External
from medrobust.model.core.victim import Victim
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.peers import adv_lib

CONF = Path(__file__).parents[3] / "conf"
EPS, STEP = 6 / 255, 1 / 255
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
        victim, eps=EPS, version="custom", attacks=["apgd-ce"], seed=SEED
    )
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
    "pyautoattack": {"version": "custom", "attacks": ["apgd-ce"]},
}
SEED = 11  # of the first image below


def adapted(name: str, eps: float = EPS, **more: Any) -> External:
    if name == "adv_lib":
        adv_lib()
    pytest.importorskip(name)
    arguments = {"eps": EPS, **ARGUMENTS[name], **more}
    return External(f"medrobust.attack.adapter.{name}.run", arguments=arguments, eps=eps)


@pytest.mark.by_default("art", "foolbox", "torchattacks")
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
    before, after = (victim(z).argmax(1) != y for z in (x, found))
    assert after.float().mean() > before.float().mean() + 0.1


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
            "adv_threshold": 0.6,
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


@pytest.mark.slow
def test_autoattack_standard_on_four_classes_and_by_seed(
    row_surrogate: VictimSurrogate,
) -> None:
    """Theirs would aim at nine classes, and takes the time as its seed when given none."""
    x = torch.rand(20, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    y = row_surrogate.victim(x).argmax(1)
    attack = adapted("pyautoattack", version="standard", attacks=None, queries=20)
    tracer = sys.gettrace()
    found = [attack(row_surrogate, x, y, seeds=torch.arange(k, k + 20)) for k in (0, 0, 100)]
    assert sys.gettrace() is tracer
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert (row_surrogate.victim(found[0]).argmax(1) != y).any()


@pytest.mark.by_default("", "/adv_lib", "/art", "/foolbox", "/torchattacks")
@pytest.mark.parametrize("name", ["", *(f"/{library}" for library in LIBRARIES)])
def test_config(
    name: str, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """Each file runs as it stands; one key sets the budget on both sides."""
    few = {
        "/pyautoattack": ["attack.arguments.version=custom", "attack.arguments.attacks=[apgd-ce]"]
    }
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
