"""What objectives of robust training share: they craft, leave the victim alone, and repeat."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from medrobust.attack.core.norm import distance
from medrobust.model.core.frozen import frozen_eval
from medrobust.model.core.victim import Victim
from medrobust.model.resnet import build
from medrobust.number import NumberError
from medrobust.objective.adversarial_training import AdversarialTraining
from medrobust.objective.core.robust import RobustObjective
from medrobust.objective.mart import MART
from medrobust.objective.trades import TRADES
from medrobust.threat.surrogate import VictimSurrogate

EPS = 8 / 255
KINDS = [AdversarialTraining, TRADES, MART]
Make = Callable[..., RobustObjective]


def victim() -> Victim:
    """In training, with a frozen part in evaluation mode, batch norm and dropout."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4),
    )  # fmt: skip
    made = Victim(net, mean=[0.5] * 3, std=[0.25] * 3, architecture={}).train()
    for _ in range(5):
        made(torch.rand(16, 3, 12, 12))  # running statistics of images, not of nothing
    net[0].weight.requires_grad_(False)
    net[1].eval()
    return made


torch.manual_seed(1)
X, Y = torch.rand(20, 3, 12, 12), torch.randint(4, (20,))
SEEDS = torch.arange(20)


def state(made: Victim) -> list[Any]:
    return [
        [module.training for module in made.modules()],
        [weight.requires_grad for weight in made.parameters()],
        [weight.grad is None for weight in made.parameters()],
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_crafted_images_are_in_the_ball_and_raise_the_loss(kind: Make) -> None:
    made, objective = victim(), kind()
    adversarial = objective.craft(made, X, Y, seeds=SEEDS)
    assert distance(X, adversarial, "linf").max() <= EPS + 1e-7
    assert distance(X, adversarial, "linf").min() > EPS / 2
    assert 0 <= adversarial.min() <= adversarial.max() <= 1
    assert not adversarial.requires_grad
    made.eval()
    clean, attacked = made(X), made(adversarial)
    rise = cross_entropy(attacked, Y, reduction="none") - cross_entropy(clean, Y, reduction="none")
    moved = (clean.softmax(1) * (clean.log_softmax(1) - attacked.log_softmax(1))).sum(1)
    assert (moved > 0).all()
    if kind is not TRADES:
        assert (rise > 0).all()
    far = kind(eps="16/255", step_size="4/255").craft(made, X, Y, seeds=SEEDS)
    further = (clean.softmax(1) * (clean.log_softmax(1) - made(far).log_softmax(1))).sum(1)
    assert further.mean() > 1.5 * moved.mean()


@pytest.mark.parametrize("kind", KINDS)
def test_the_victim_is_left_as_it_was(kind: Make) -> None:
    made = victim()
    before = state(made)
    weights = {name: value.clone() for name, value in made.state_dict().items()}
    random = torch.get_rng_state()
    kind().craft(made, X, Y, seeds=SEEDS)
    assert state(made) == before
    assert all(torch.equal(value, weights[name]) for name, value in made.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_the_victim_is_left_as_it_was_even_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    made, objective = victim(), TRADES()
    before = state(made)

    def fails(*_: object, **__: object) -> Tensor:
        assert not made.training
        raise RuntimeError("no")

    monkeypatch.setattr(type(objective.inner), "perturb", fails)
    with pytest.raises(RuntimeError, match="no"):
        objective.loss(made, X, Y, seeds=SEEDS)
    assert state(made) == before


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_attacked_alike_in_any_batch_and_otherwise_with_another_seed(
    kind: Make,
) -> None:
    made, objective = victim(), kind(steps=3)
    whole = objective.craft(made, X, Y, seeds=SEEDS)
    parts = [
        objective.craft(made, X[rows], Y[rows], seeds=SEEDS[rows])
        for rows in torch.arange(20).flip(0).split(7)
    ]
    torch.testing.assert_close(torch.cat(parts).flip(0), whole, rtol=0, atol=1e-6)
    assert torch.equal(objective.craft(made, X, Y, seeds=SEEDS), whole)
    assert not torch.equal(objective.craft(made, X, Y, seeds=SEEDS + 1), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_trains_weights_and_statistics(kind: Make) -> None:
    made = victim()
    statistics = made.network[4].running_mean.clone()
    kind(steps=2).loss(made, X, Y, seeds=SEEDS).backward()
    assert made.network[3].weight.grad.abs().sum() > 0
    assert made.network[0].weight.grad is None  # frozen by the user
    assert not torch.equal(made.network[4].running_mean, statistics)


@pytest.mark.by_default("TRADES")
@pytest.mark.parametrize("kind", KINDS)
def test_training_against_the_attack_makes_it_fail(kind: Make) -> None:
    # Classes differ by a faint global brightness (robust) and a fainter chequerboard (not robust).
    torch.manual_seed(0)
    y = torch.arange(64) % 2
    sign = (2 * y - 1).view(-1, 1, 1, 1)
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2 - 1
    x = 0.5 + 0.08 * sign + 0.02 * sign * board + 0.02 * torch.randn(64, 3, 8, 8)
    x, seeds, scores = x.clamp(0, 1), torch.arange(64), []
    for objective in (None, kind(steps=5)):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
        made = Victim(net, mean=[0.5] * 3, std=[0.1] * 3, architecture={}).train()
        optimizer = torch.optim.SGD(made.parameters(), lr=0.02)
        for epoch in range(40):
            if objective is None:
                loss = cross_entropy(made(x), y)
            else:
                loss = objective.loss(made, x, y, seeds=seeds + 64 * epoch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        attacked = kind(eps="12/255", steps=10).craft(made, x, y, seeds=seeds)
        scores.append(cross_entropy(made(attacked), y).item())
    assert scores[1] < scores[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_best_epoch_is_chosen_under_attack(kind: Make) -> None:
    validation = kind(eps="4/255", val_steps=7).validation
    assert (validation.eps, validation.steps) == (4 / 255, 7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("masks", [False, True])
def test_a_class_that_weighs_twice_is_one_seen_twice(kind: Make, masks: bool) -> None:
    torch.manual_seed(2)
    clean, attacked = torch.randn(2, 6, 2, *((4, 4) if masks else ())).requires_grad_()
    y = torch.arange(6) % 3 // 2  # four of class 0, two of class 1
    labels = y[:, None, None].expand(6, 4, 4) if masks else y
    given = {"x": clean, "x'": attacked}

    def outer(objective: RobustObjective, index: Tensor) -> Tensor:
        def network(name: Any) -> Tensor:
            return given[name][index]

        return objective.outer(network, "x", "x'", labels[index])  # type: ignore[arg-type]

    how = {} if kind is AdversarialTraining else {"beta": 0.0}  # a divergence knows no class
    balanced = kind(class_balanced=True, **how)
    balanced.prepare(SimpleNamespace(task="classification", num_classes=2, labels=lambda split: y))
    twice = torch.cat([torch.arange(6), torch.tensor([2, 5])])
    expected = outer(kind(**how), twice)
    torch.testing.assert_close(outer(balanced, torch.arange(6)), expected)
    assert (outer(kind(**how), torch.arange(6)) - expected).abs() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_classes_weigh_alike_unless_asked(kind: Make) -> None:
    objective = kind()
    objective.prepare(SimpleNamespace())
    assert objective.weight is None


@pytest.mark.parametrize("kind", KINDS)
def test_settings_enter_the_fingerprint(kind: Make) -> None:
    found = {kind(), kind(eps=0.03), kind(step_size=0.01), kind(steps=7), kind(val_steps=3)}
    found.add(kind(class_balanced=True))
    assert len({objective.fingerprint for objective in found}) == 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("wrong", "name"),
    [({"eps": 0}, "eps"), ({"eps": 2}, "eps"), ({"step_size": "x"}, "step_size"),
     ({"steps": 0}, "steps"), ({"val_steps": 0}, "val_steps")],
)  # fmt: skip
def test_impossible_numbers_are_refused(kind: Make, wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(NumberError, match=rf"objective\.{name}="):
        kind(**wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_too(kind: Make) -> None:
    torch.manual_seed(0)
    net = nn.Conv2d(3, 3, 3, padding=1)
    made = Victim(net, mean=[0.5] * 3, std=[0.25] * 3, architecture={}).train()
    masks = torch.randint(3, (4, 12, 12))
    loss = kind(steps=2).loss(made, X[:4], masks, seeds=SEEDS[:4])
    assert loss > 0
    loss.backward()
    assert net.weight.grad.isfinite().all()


def test_the_inner_attack_follows_the_present_weights() -> None:
    torch.manual_seed(0)
    made = build(4, name="resnet18", network="resnet10t").train()
    objective, x = AdversarialTraining(steps=2), torch.rand(4, 3, 32, 32)
    for _ in range(2):
        with frozen_eval(made):
            plain = objective.inner(VictimSurrogate(made), x, Y[:4], seeds=SEEDS[:4])
        crafted = objective.craft(made, x, Y[:4], seeds=SEEDS[:4])
        assert (crafted != plain).double().mean() < 0.02  # a sign that rounding decides
        assert not made._fast
        with torch.no_grad():
            for weight in made.parameters():
                weight.mul_(-1)
    again = objective.craft(made, x, Y[:4], seeds=SEEDS[:4])
    assert (again != crafted).double().mean() > 0.1
