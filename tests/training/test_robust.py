"""Robust training in the training loop: the epoch it keeps, and going on after a power cut."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medrobust.model.core.victim import Victim
from medrobust.objective.adversarial_training import AdversarialTraining
from medrobust.objective.awp import AWP
from medrobust.objective.core.base import Objective
from medrobust.objective.mart import MART
from medrobust.objective.standard import Standard
from medrobust.objective.trades import TRADES

Train = Callable[..., Any]


class PowerCutError(RuntimeError):
    pass


def objectives() -> dict[str, Objective]:
    few = {"steps": 2, "val_steps": 2}
    return {
        "adversarial_training": AdversarialTraining(**few),
        "trades": TRADES(**few),
        "mart": MART(**few),
        "trades_awp": AWP("trades_awp", objective=TRADES(**few), gamma=0.005),
    }


def weights(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def recorded(objective: Objective, stop: int | None = None) -> tuple[Objective, list[Tensor]]:
    """The objective, and what it finds in each batch, until the power is cut."""
    losses: list[Tensor] = []
    loss = objective.loss

    def record(victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        if len(losses) == stop:
            raise PowerCutError
        found = loss(victim, x, y, seeds=seeds)
        losses.append(found.detach())
        return found

    objective.loss = record  # type: ignore[method-assign]
    return objective, losses


@pytest.mark.by_default("trades_awp")
@pytest.mark.parametrize("name", objectives())
def test_a_resumed_training_goes_on_as_an_uninterrupted_one(
    name: str, run: Train, tmp_path: Path
) -> None:
    whole, resumed = tmp_path / "whole" / "v.ckpt", tmp_path / "resumed" / "v.ckpt"
    objective, losses = recorded(objectives()[name])
    run(checkpoint=whole, objective=objective, max_epochs=3)
    broken, _ = recorded(objectives()[name], stop=6)  # in the second epoch of four batches
    with pytest.raises(PowerCutError):
        run(checkpoint=resumed, objective=broken, max_epochs=3)
    objective, rest = recorded(objectives()[name])
    meta = run(checkpoint=resumed, objective=objective, max_epochs=3)
    assert torch.equal(torch.stack(rest), torch.stack(losses[4:]))
    assert meta.epochs == 3
    expected = weights(whole)
    assert all(torch.equal(value, expected[key]) for key, value in weights(resumed).items())
    assert {"val/robust_accuracy", "test/robust_accuracy", "val/accuracy"} <= set(meta.scores)


class Scripted(Standard):
    """Learns nothing itself; each epoch leaves a victim of known clean and robust accuracy."""

    def __init__(self, validation: Any) -> None:
        super().__init__()
        self.validation = validation

    def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        return 0 * super().loss(victim, x, y, seeds=seeds)


class Darken:
    """An 'attack' that only hurts a victim whose threshold lies high."""

    def __call__(self, surrogate: Any, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        assert not surrogate.victim.training
        assert len(seeds) == len(x)
        return (x - 0.3).clamp(0, 1)


@pytest.mark.parametrize(("validation", "best"), [(None, 0), (Darken(), 1)])
def test_the_best_epoch_is_that_of_the_validation_attack(
    run: Train, validation: Any, best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dark images have mean 0.2, bright ones 0.8, and the attack takes 0.3 away.
    thresholds = iter([0.6, 0.25, 0.9])

    class Threshold(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))
            self.register_buffer("level", torch.tensor(0.6))

        def forward(self, x: Tensor) -> Tensor:
            bright = x.mean(dim=(1, 2, 3)) - self.level
            return torch.stack([-bright, bright], 1) * self.weight

    def build(classes: int) -> Victim:
        return Victim(Threshold(), mean=[0.0] * 3, std=[1.0] * 3, architecture={
            "builder": "resnet", "num_classes": 2, "name": "t", "network": "resnet18"})  # fmt: skip

    class Moving(Scripted):
        batches = 0

        def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
            if self.batches % 4 == 0:
                victim.network.level.fill_(next(thresholds))
            self.batches += 1
            return super().loss(victim, x, y, seeds=seeds)

    meta = run(model=build, objective=Moving(validation), max_epochs=3)
    assert meta.best_epoch == best
    assert ("val/robust_accuracy" in meta.scores) == (validation is not None)


def test_another_metric_may_choose_the_epoch(run: Train) -> None:
    few = {"steps": 1, "val_steps": 1}
    objective = TRADES(**few, val_metric="balanced_accuracy")
    scores = run(objective=objective, max_epochs=1).scores
    assert {"val/robust_accuracy", "val/robust_balanced_accuracy"} <= set(scores)
    with pytest.raises(ValueError, match=r"objective\.val_metric=dice.*balanced_accuracy"):
        run(objective=TRADES(**few, val_metric="dice"), overwrite=True)


def test_segmenters_are_scored_under_attack_too(run: Train, segmentation: dict[str, Any]) -> None:
    objective = AdversarialTraining(steps=1, val_steps=1)
    meta = run(**segmentation, objective=objective, max_epochs=1)
    assert meta.scores["val/robust_dice"] < 1
    assert "test/robust_dice" in meta.scores


def test_seeds_belong_to_sample_and_epoch(run: Train) -> None:
    seen: dict[int, list[Tensor]] = {}

    class Recorder(Standard):
        batches = 0

        def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
            seen.setdefault(self.batches // 4, []).append(seeds)
            self.batches += 1
            return super().loss(victim, x, y, seeds=seeds)

    for _ in range(2):
        run(objective=Recorder(), max_epochs=2, overwrite=True)
    first, second = (torch.cat(seen[epoch]) for epoch in (0, 1))
    # The recorder of the second run counts from 0 again.
    assert len(first.unique()) == len(second.unique()) == 32
    assert not set(first.tolist()) & set(second.tolist())
