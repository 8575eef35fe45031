"""Denoised smoothing is trained, resumed, loaded, and smoothed; queries are told."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from medrobust.defense.core.base import Defense
from medrobust.defense.core.checkpoint import DefenseError, DefenseMeta, read_meta
from medrobust.defense.core.learned import remarks, training_queries
from medrobust.defense.denoiser.ds import DS
from medrobust.defense.denoiser.estimator import CGE, RGE
from medrobust.defense.denoiser.zo_ae_ds import ZOAEDS
from medrobust.defense.denoiser.zo_ds import ZODS
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.randomized_smoothing import RandomizedSmoothing
from medrobust.logger.null import NullLogger
from medrobust.model.core.victim import Victim
from medrobust.training.defense.denoising import WarmStartError, ZerothOrderModule
from medrobust.training.defense.train import NothingToTrainError, train_defense

SMALL: dict[str, Any] = {"depth": 3, "features": 4, "warm_epochs": 1}
IMAGES, EPOCHS = 32, 3


def zo_ae_ds(path: Path, estimator: Any = None) -> ZOAEDS:
    estimator = estimator or RGE(4)
    return ZOAEDS(
        "zo", str(path), estimator=estimator, levels=2, code_maps=1, encoder_features=4, **SMALL
    )


@pytest.fixture
def teach(data: Any, victim: Victim) -> Callable[..., DefenseMeta]:
    """`train_defense` on tiny data."""

    def call(path: Path, make: Callable[[], Defense], **changes: Any) -> DefenseMeta:
        arguments: dict[str, Any] = {
            "defense": make,
            "victim": lambda: victim,
            "data": data,
            "optimizer": lambda weights: torch.optim.Adam(weights, lr=0.01),
            "scheduler": None,
            "trainer": {"accelerator": "cpu", "devices": 1, "max_epochs": EPOCHS},
            "logger": NullLogger(),
            "checkpoint": path,
            "recipe": {},
            "seed": 0,
            "progress_bar": False,
        }
        return train_defense(**(arguments | changes))

    return call


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def test_a_black_box_training_counts_its_queries_also_when_it_was_interrupted(
    teach: Callable[..., DefenseMeta], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = tmp_path / "whole.ckpt", tmp_path / "resumed.ckpt"
    meta = teach(whole, partial(zo_ae_ds, whole))
    # Each epoch is measured once, with two questions an image, and the best on both splits.
    steps = (EPOCHS - 1) * (4 + 2)
    assert meta.queries == IMAGES * (steps + 2 * (EPOCHS + 2)) == read_meta(whole).queries
    assert set(meta.scores) >= {"test/loss", "test/mse", "test/stability", "test/agreement"}

    stability = ZerothOrderModule.stability

    def fail(self: ZerothOrderModule, *args: Any) -> Any:
        if self.current_epoch == 2:
            raise RuntimeError("interrupted")
        return stability(self, *args)

    monkeypatch.setattr(ZerothOrderModule, "stability", fail)
    with pytest.raises(RuntimeError, match="interrupted"):
        teach(resumed, partial(zo_ae_ds, resumed))
    monkeypatch.setattr(ZerothOrderModule, "stability", stability)
    again = teach(resumed, partial(zo_ae_ds, resumed))
    assert again.queries == meta.queries
    assert content(whole)["fingerprint"] == content(resumed)["fingerprint"]


def test_weights_of_the_warm_start_are_told(
    teach: Callable[..., DefenseMeta],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    data: Any,
    victim: Victim,
) -> None:
    path = tmp_path / "d.ckpt"

    def ruin(
        self: ZerothOrderModule, code: torch.Tensor, goal: torch.Tensor, seeds: torch.Tensor
    ) -> torch.Tensor:
        return 1e6 * code.sum()

    monkeypatch.setattr(ZerothOrderModule, "stability", ruin)
    with caplog.at_level("WARNING", logger="medrobust"):
        meta = teach(path, partial(zo_ae_ds, path))
    assert meta.best_epoch == 0
    told = "zo has the weights of epoch 1 of its warm start of 1"
    assert told in caplog.text
    defense = RandomizedSmoothing(0.25, 50, denoiser=zo_ae_ds(path))
    assert remarks(defense) == []  # not loaded yet
    defense.fit(victim, data)
    (remark,) = remarks(defense)
    assert remark.text.startswith(told)
    assert remark.meaning
    assert defense.denoiser.remarks(replace(meta, best_epoch=1)) == ()


def test_the_decoder_stays_as_the_warm_epochs_left_it(
    teach: Callable[..., DefenseMeta], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[dict[str, torch.Tensor]] = []

    def note(self: ZerothOrderModule) -> None:
        weights = self.defense.state_dict()
        states.append({name: value.clone() for name, value in weights.items()})
        super(ZerothOrderModule, self).on_train_epoch_end()

    monkeypatch.setattr(ZerothOrderModule, "on_train_epoch_end", note)
    path = tmp_path / "d.ckpt"
    decayed = lambda weights: torch.optim.AdamW(weights, lr=0.01, weight_decay=0.1)  # noqa: E731
    teach(path, partial(zo_ae_ds, path), optimizer=decayed)
    first, *_, last = states
    for name, value in first.items():
        kept = torch.equal(value, last[name])
        assert kept is name.startswith("decoder"), name


@pytest.mark.by_default("False")
@pytest.mark.parametrize("segments", [False, True])
def test_the_first_order_learns_to_keep_answers(
    teach: Callable[..., DefenseMeta],
    tmp_path: Path,
    segments: bool,
    segmentation: dict[str, Any],
    victim: Victim,
) -> None:
    path = tmp_path / "ds.ckpt"
    rest: dict[str, Any] = {}
    if segments:
        torch.manual_seed(0)
        seen = segmentation["model"](2).freeze()
        rest = {"data": segmentation["data"], "victim": lambda: seen}
    trainer = {"accelerator": "cpu", "devices": 1}
    make = lambda: DS("ds", str(path), sigma=0.5, gamma=0.1, **SMALL)  # noqa: E731
    first = teach(path, make, trainer=trainer | {"max_epochs": 2}, **rest)
    more = teach(path, make, trainer=trainer | {"max_epochs": 15}, overwrite=True, **rest)
    assert more.scores["test/loss"] < first.scores["test/loss"]
    assert more.scores["test/mse"] < 0.7 * first.scores["test/mse"]
    assert more.queries == 0


def test_a_vote_is_trained_by_its_denoiser_and_loads_it(
    teach: Callable[..., DefenseMeta], tmp_path: Path, data: Any, victim: Victim
) -> None:
    path = tmp_path / "vote.ckpt"
    make = lambda: RandomizedSmoothing(0.1, 50, denoiser=zo_ae_ds(path, CGE()))  # noqa: E731
    meta = teach(path, make)
    assert meta.recipe["defense"]["class"].endswith("ZOAEDS")
    defense = make()
    defense.fit(victim, data)
    assert training_queries(defense) == meta.queries > 0
    x = torch.stack([sample.image for sample in data.samples])
    found = defense(x, victim, seeds=torch.arange(len(x)))
    assert (found.details["certified_radius"] > 0).any()
    other = Victim(victim.network, mean=[0.1] * 3, std=[0.5] * 3, architecture={}).freeze()
    with pytest.raises(DefenseError, match="was trained for the victim"):
        make().fit(other, data)


def test_what_is_trained_must_be_one_thing(
    teach: Callable[..., DefenseMeta], tmp_path: Path
) -> None:
    path = tmp_path / "d.ckpt"
    with pytest.raises(NothingToTrainError, match=r"RandomizedSmoothing has nothing to train"):
        teach(path, lambda: RandomizedSmoothing(denoiser=Median()))

    class Two(MedRDF):
        def __init__(self) -> None:
            super().__init__(GaussianNoise(), ZODS("a", "a", estimator=CGE()), copies=4)
            self.other = DS("b", "b")

    with pytest.raises(NothingToTrainError, match=r"several parts to train \(a, b\)"):
        teach(path, Two)
    with pytest.raises(WarmStartError, match=r"warm_epochs=5 of trainer\.max_epochs=3"):
        teach(path, lambda: DS("ds", str(path)))
    assert not path.exists()
