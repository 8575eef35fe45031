from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medrobust.defense.core.checkpoint import DefenseMeta, read_meta
from medrobust.defense.jpeg import JPEG
from medrobust.logger.null import NullLogger
from medrobust.model.core.victim import Victim
from medrobust.training.checkpoint_path import AlreadyTrainedError
from medrobust.training.defense.train import NothingToTrainError, train_defense
from medrobust.training.run import EmptyTrainingError
from medrobust.training.seeded import RecipeError
from tests.support.learners import Guard, Mixer, MixerModule

Train = Callable[..., DefenseMeta]


def no_victim() -> Victim:
    raise AssertionError("it needs none")


@pytest.fixture
def teach(tmp_path: Path, data: Any) -> Train:
    """`train_defense` on tiny data; keyword arguments replace the defaults."""

    def call(kind: type[Mixer] = Mixer, **changes: Any) -> DefenseMeta:
        checkpoint = changes.pop("checkpoint", tmp_path / "mixer.ckpt")
        settings = changes.pop("settings", {})
        epochs = changes.pop("max_epochs", 3)
        arguments: dict[str, Any] = {
            "defense": partial(kind, "mixer", str(checkpoint), **settings),
            "victim": no_victim,
            "data": data,
            "optimizer": lambda weights: torch.optim.Adam(weights, lr=0.02),
            "scheduler": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs),
            "trainer": {"accelerator": "cpu", "devices": 1, "max_epochs": epochs},
            "logger": NullLogger(),
            "checkpoint": checkpoint,
            "recipe": {"optimizer": {"lr": 0.02}},
            "seed": 0,
            "progress_bar": False,
        }
        return train_defense(**(arguments | changes))

    return call


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def seen(monkeypatch: pytest.MonkeyPatch, **attributes: Any) -> list[Tensor]:
    """The training batches of the trainings that follow; attributes are those of the module."""
    batches: list[Tensor] = []

    def module(self: Mixer, setup: Any) -> MixerModule:
        made = MixerModule(self, setup)
        for name, value in attributes.items():
            setattr(made, name, value)
        made.seen = batches
        return made

    monkeypatch.setattr(Mixer, "training_module", module)
    return batches


def test_a_trained_defense_is_loaded_by_fit(
    teach: Train, tmp_path: Path, data: Any, victim: Victim
) -> None:
    before = teach(max_epochs=1)
    meta = teach(max_epochs=12, overwrite=True)
    assert meta.scores["test/loss"] < 0.7 * before.scores["test/loss"]
    assert set(meta.scores) == {"val/loss", "test/loss"}
    path = tmp_path / "mixer.ckpt"
    assert meta == read_meta(path)
    assert (meta.data_key, meta.phantom, meta.epochs, meta.victim) == ("blobs_8px", True, 12, "")
    assert meta.recipe["defense"]["class"] == "Mixer"
    assert meta.recipe["data_digest"] == "0" * 64
    assert meta.seconds > 0
    assert [file.name for file in tmp_path.glob("[!.]*")] == ["mixer.ckpt"]  # nothing left over

    defense = Mixer("mixer", str(path))
    defense.fit(victim, data)
    x = torch.stack([sample.image for sample in data.samples])
    found = defense(x, victim, seeds=torch.arange(len(x)))
    error = (defense.purify(x, seeds=torch.arange(len(x))) - x).square().mean()
    assert error.item() == pytest.approx(meta.scores["test/loss"], rel=1e-3)
    assert found.logits.shape == (len(x), 2)


def test_equal_seeds_give_equal_weights_and_others_do_not(teach: Train, tmp_path: Path) -> None:
    prints = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        path = tmp_path / name / "d.ckpt"
        teach(checkpoint=path, seed=seed, settings={"seed": seed})
        prints.append(content(path)["fingerprint"])
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("batches", [6, 8])
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    teach: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    every = seen(monkeypatch)
    teach(checkpoint=tmp_path / "whole" / "d.ckpt", max_epochs=4)
    path = tmp_path / "resumed" / "d.ckpt"
    seen(monkeypatch, stop_at=batches)
    with pytest.raises(RuntimeError):
        teach(checkpoint=path, max_epochs=4)
    assert not path.exists()
    rest = seen(monkeypatch)
    meta = teach(checkpoint=path, max_epochs=4)
    assert len(rest) == 16 - 4 * (batches // 4)  # whole epochs are not done again
    pairs = zip(rest, every[-len(rest) :], strict=True)
    assert all(torch.equal(x, other) for x, other in pairs)
    assert meta.epochs == 4
    whole, resumed = content(tmp_path / "whole" / "d.ckpt"), content(path)
    assert whole["fingerprint"] == resumed["fingerprint"]
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, resumed["state_dict"][name])


def test_an_interrupted_training_of_other_settings_is_not_gone_on_with(
    teach: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(monkeypatch, stop_at=6)
    with pytest.raises(RuntimeError):
        teach()
    batches = seen(monkeypatch)
    with pytest.raises(RecipeError, match="resume=null"):
        teach(settings={"gain": 2.0})
    teach(settings={"gain": 2.0}, resume=None)
    assert len(batches) == 12


def test_the_same_training_is_not_done_twice_and_another_replaces_nothing_unasked(
    teach: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_data: Any
) -> None:
    first = teach()
    batches = seen(monkeypatch)
    assert teach() == first
    assert teach(settings={"soft": True}) == first  # a setting that changes no weight
    assert not batches
    old = content(tmp_path / "mixer.ckpt")["fingerprint"]
    for changes, message in (
        ({"settings": {"gain": 2.0}}, r"defense\.gain: 1\.0 -> 2\.0\n.*overwrite=true"),
        ({"recipe": {"optimizer": {"lr": 1}}}, r"optimizer\.lr: 0\.02 -> 1"),
        ({"data": other_data}, "data_digest: 000"),
    ):
        with pytest.raises(AlreadyTrainedError, match=message):
            teach(**changes)
    assert content(tmp_path / "mixer.ckpt")["fingerprint"] == old
    teach(settings={"gain": 2.0}, overwrite=True)
    assert content(tmp_path / "mixer.ckpt")["fingerprint"] != old


def test_a_defense_of_a_victim_knows_which(
    teach: Train, data: Any, victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {name: value.clone() for name, value in victim.state_dict().items()}
    meta = teach(Guard, victim=lambda: victim)
    assert meta.victim == victim.fingerprint
    assert meta.recipe["victim"] == victim.fingerprint
    assert all(torch.equal(value, weights[name]) for name, value in victim.state_dict().items())
    other = Victim(victim.network, mean=[0.1] * 3, std=[0.5] * 3, architecture={}).freeze()
    with pytest.raises(AlreadyTrainedError, match="victim: "):
        teach(Guard, victim=lambda: other)


def test_the_best_epoch_is_kept(teach: Train, tmp_path: Path) -> None:
    # The rate grows until the weights are thrown about, so a late epoch is not the best.
    jump = lambda weights: torch.optim.SGD(weights, lr=1e-3)  # noqa: E731
    grow = lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 1e4)  # noqa: E731
    meta = teach(max_epochs=4, optimizer=jump, scheduler=grow, settings={"soft": True})
    assert meta.best_epoch < 3
    assert meta.epochs == 4


def test_what_cannot_be_trained_says_so(teach: Train, tmp_path: Path) -> None:
    with pytest.raises(NothingToTrainError, match=r"JPEG has nothing to train.*medrobust evaluate"):
        teach(defense=lambda: JPEG(75))
    with pytest.raises(EmptyTrainingError, match="max_epochs=0"):
        teach(max_epochs=0)
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf).*optimizer\.lr"):
        teach(
            optimizer=lambda w: torch.optim.SGD(w, lr=float("inf")),
            scheduler=None,
            settings={"soft": True},
            resume=None,
        )
    assert not (tmp_path / "mixer.ckpt").exists()
