import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from medrobust.attack.core.base import AttackError
from medrobust.attack.core.norm import distance
from medrobust.attack.target.fixed_class import FixedClass
from medrobust.attack.uap import UAP
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.toys import ToyData

CONF = Path(__file__).parents[2] / "conf"
EPS = 8 / 255
TRAINED = 120  # images of 200; the rest are attacked


@pytest.fixture(scope="module")
def data(images: Tensor, labels: Tensor) -> Any:
    return ToyData(images[:TRAINED], labels[:TRAINED])


@pytest.fixture(scope="module")
def held_out(images: Tensor, labels: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return images[TRAINED:], labels[TRAINED:], seeds[TRAINED:]


@pytest.fixture(scope="module")
def fitted(surrogate: VictimSurrogate, data: Any) -> UAP:
    attack = UAP(EPS, epochs=5, batch=40)
    attack.fit(surrogate, data)
    return attack


def fooled(victim: Victim, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return (victim(x).argmax(1) != y).double().mean().item()


def delta(attack: UAP) -> Tensor:
    assert attack.delta is not None
    return attack.delta


def test_one_perturbation_for_all_within_the_budget(
    fitted: UAP, surrogate: VictimSurrogate, held_out: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, seeds = held_out
    found = fitted(surrogate, x, y, seeds=seeds)
    torch.testing.assert_close(found, (x + delta(fitted)).clamp(0, 1), atol=1e-6, rtol=0)
    assert distance(x, found, "linf").max() <= EPS
    assert delta(fitted).shape == x.shape[1:]
    assert (delta(fitted).abs() > 0.99 * EPS).float().mean() > 0.5
    alone = fitted(surrogate, x[3:4], y[3:4], seeds=seeds[3:4] + 1)
    assert torch.equal(alone, found[3:4])


def test_fools_unseen_images_where_noise_does_not(
    fitted: UAP, victim: Victim, surrogate: VictimSurrogate, held_out: tuple[Tensor, ...]
) -> None:
    x, y, seeds = held_out
    share = fooled(victim, fitted(surrogate, x, y, seeds=seeds), y)
    generator = torch.Generator().manual_seed(0)
    noise = [EPS * torch.randn(x.shape[1:], generator=generator).sign() for _ in range(20)]
    random = max(fooled(victim, (x + one).clamp(0, 1), y) for one in noise)
    assert fooled(victim, x, y) < 0.1
    assert random < 0.1
    assert share > 0.4


def test_stronger_than_deepfool_in_turns(
    victim: Victim, data: Any, surrogate: VictimSurrogate, held_out: tuple[Tensor, ...]
) -> None:
    """The peer is the method of Moosavi-Dezfooli et al. in ART, one image after another, L∞.

    It stops by itself at a share of fooled training images, here one that it does not reach, and
    takes DeepFool's smallest step per image; ours ascends a clipped loss over batches.
    """
    art = pytest.importorskip("art.attacks.evasion")
    estimators = pytest.importorskip("art.estimators.classification")
    x = torch.stack([sample.image for sample in list(data.train)[:20]])
    labels = torch.stack([sample.label for sample in list(data.train)[:20]])
    classifier = estimators.PyTorchClassifier(
        copy.deepcopy(victim),
        nn.CrossEntropyLoss(),
        (3, 12, 12),
        3,
        clip_values=(0, 1),
        device_type="cpu",
    )
    peer = art.UniversalPerturbation(
        classifier,
        attacker="deepfool",
        attacker_params={"max_iter": 10, "verbose": False},
        delta=0.05,
        max_iter=2,
        eps=EPS,
        norm=float("inf"),
        verbose=False,
    )
    np.random.seed(0)
    peer.generate(x.numpy(), nn.functional.one_hot(labels, 3).numpy())
    y = held_out[1]
    theirs = fooled(victim, (held_out[0] + torch.as_tensor(peer.noise)).clamp(0, 1), y)
    attack = UAP(EPS, epochs=5, batch=20)
    attack.fit(surrogate, ToyData(x, labels))
    ours = fooled(victim, attack(surrogate, *held_out[:2], seeds=held_out[2]), y)
    assert np.abs(peer.noise).max() > EPS / 2  # it did run
    assert theirs < ours


def test_deterministic_by_its_own_seed(
    fitted: UAP, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, data: Any
) -> None:
    torch.manual_seed(1)
    again = UAP(EPS, epochs=5, batch=40)
    with torch.inference_mode():
        again.fit(surrogate, data)
    assert torch.equal(delta(again), delta(fitted))
    other = UAP(EPS, epochs=1, batch=40, restarts=1, seed=1)
    other.fit(surrogate, data)
    same = UAP(EPS, epochs=1, batch=40, restarts=1, seed=0)
    same.fit(surrogate, data)
    assert not torch.equal(delta(other), delta(same))


def test_restarts_only_help_on_the_training_images(
    surrogate: VictimSurrogate, victim: Victim, images: Tensor, labels: Tensor, data: Any
) -> None:
    shares = []
    for restarts in (1, 2, 4):
        attack = UAP(EPS, epochs=2, batch=40, restarts=restarts)
        attack.fit(surrogate, data)
        shares.append(
            fooled(victim, (images + delta(attack)).clamp(0, 1)[:TRAINED], labels[:TRAINED])
        )
    assert shares == sorted(shares)


def test_targeted(surrogate: VictimSurrogate, data: Any, held_out: tuple[Tensor, ...]) -> None:
    x, y, seeds = held_out
    attack = UAP(2 * EPS, epochs=4, batch=40, restarts=1, target=FixedClass(2))
    attack.fit(surrogate, data)
    with torch.no_grad():
        before = (surrogate.victim(x).argmax(1) == 2).float().mean()
        found = surrogate.victim(attack(surrogate, x, y, seeds=seeds)).argmax(1)
    assert before < 0.4
    assert (found == 2).float().mean() > 0.8


class Linear(nn.Module):
    """Two classes; the second gains by each value as much as its weight says."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.weight).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], dim=1)


@pytest.mark.parametrize("count", [5, 90])
def test_linear_model_has_a_closed_form(count: int) -> None:
    """The best delta is eps * sign(weight), whatever the start and however few the steps.

    The first column is black in every image, and its weight positive: a start below 0 there is
    clipped away in every image, and must still be found to be wrong.
    """
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 1, 6, 5, generator=generator)
    weight[..., 0] = weight[..., 0].abs()
    x = 0.2 + 0.6 * torch.rand(count, 1, 6, 5, generator=generator)
    x[..., 0] = 0.0
    victim = Victim(Linear(weight), mean=[0.5], std=[1.0], architecture={}).freeze()
    attack = UAP(EPS, epochs=1, batch=20, restarts=1, clip=None)
    attack.fit(VictimSurrogate(victim), ToyData(x, torch.zeros(count, dtype=torch.int64)))
    torch.testing.assert_close(delta(attack), EPS * weight[0].sign())


def test_cost_is_what_the_config_says(surrogate: VictimSurrogate, data: Any) -> None:
    seen: list[int] = []
    handle = surrogate.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    UAP(EPS, epochs=2, batch=16, images=50, restarts=3).fit(surrogate, data)
    handle.remove()
    assert sum(seen) == 3 * (2 + 1) * 50  # each pass of each restart, and its score
    assert max(seen) == 16


def test_masks(pixel_surrogate: VictimSurrogate) -> None:
    generator = torch.Generator().manual_seed(8)
    x = torch.rand(1, 3, 10, 14, generator=generator)  # 40 images of one scene
    x = (x + 0.05 * torch.randn(40, 3, 10, 14, generator=generator)).clamp(0, 1)
    victim = pixel_surrogate.victim
    y = victim(x).argmax(1)
    attack = UAP(2 * EPS, epochs=3, batch=8, restarts=1)
    attack.fit(pixel_surrogate, ToyData(x[:30], y[:30]))
    found = attack(pixel_surrogate, x[30:], y[30:], seeds=torch.arange(10))
    noise = 2 * EPS * torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(1)).sign()
    random = fooled(victim, (x[30:] + noise).clamp(0, 1), y[30:])
    assert fooled(victim, found, y[30:]) > random + 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(
    dtype: torch.dtype, victim: Victim, data: Any, held_out: tuple[Tensor, ...]
) -> None:
    x, y, seeds = held_out[0].to(dtype), held_out[1], held_out[2]
    surrogate = VictimSurrogate(copy.deepcopy(victim).to(dtype))
    attack = UAP(EPS, epochs=3, batch=40, restarts=2)
    attack.fit(surrogate, data)
    found = attack(surrogate, x, y, seeds=seeds)
    assert found.dtype == dtype
    assert distance(x, found, "linf").max() <= EPS
    assert fooled(surrogate.victim, found, y) > 0.25


def test_weights_are_left_alone(victim: Victim, data: Any) -> None:
    careless = copy.deepcopy(victim).requires_grad_(True)
    UAP(EPS, epochs=1, restarts=1).fit(VictimSurrogate(careless), data)
    assert all(parameter.grad is None for parameter in careless.parameters())


def test_refusals(
    fitted: UAP, victim: Victim, surrogate: VictimSurrogate, data: Any, held_out: tuple[Tensor, ...]
) -> None:
    x, y, seeds = held_out
    with pytest.raises(AttackError, match=r"no perturbation yet: call fit"):
        UAP(EPS, epochs=1)(surrogate, x, y, seeds=seeds)
    with pytest.raises(
        AttackError, match=r"fitted on images \(3, 12, 12\), these are \(3, 12, 9\)"
    ):
        fitted(surrogate, x[..., :9], y, seeds=seeds)
    with pytest.raises(AttackError, match="UAP needs gradients"):
        UAP(EPS, epochs=1).fit(BlackBox()(victim, NoDefense()), data)

    class NotANumber(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3] * torch.nan

    broken = Victim(NotANumber(), mean=[0.5] * 3, std=[0.5] * 3, architecture={}).freeze()
    with pytest.raises(AttackError, match="the loss is NaN"):
        UAP(EPS, epochs=1).fit(VictimSurrogate(broken), data)


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch": 0},
        {"images": 0},
        {"restarts": 0},
        {"seed": -1},
        {"step_size": 0},
        {"clip": "much"},
        {"eps": None},
    ],
)
def test_bad_numbers(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"attack\.{next(iter(bad))}="):
        UAP(**{"eps": EPS, "epochs": 1, **bad})


def test_config() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        attack = instantiate(
            compose(
                overrides=["+attack=uap", "attack/target=fixed_class", "attack.target.label=1"]
            ).attack
        )
    assert type(attack) is UAP
    assert attack.learns
    assert (attack.eps, attack.seed, attack.step_size) == (EPS, 0, None)
    assert isinstance(attack.target, FixedClass)
