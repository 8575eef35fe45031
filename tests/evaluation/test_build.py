"""A row claims of its victim and its surrogate what their checkpoints say."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from medrobust.defense.core.feature import OfVictim
from medrobust.defense.none import NoDefense
from medrobust.evaluation import build
from medrobust.evaluation.transfer import TrainedTransfer
from medrobust.model import vgg_slim
from medrobust.model.core.checkpoint import TrainedVictim, VictimError, load_victim, save_victim
from tests.faults.victims import CONF, make

CPU = torch.device("cpu")


class Place:
    """A phantom, and a victim of it at its default path."""

    def __init__(self, root: Path) -> None:
        words = make(root)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            self.config = compose("evaluate", overrides=words)
        self.data, _ = build.data_and_images(self.config)
        self.path = Path(self.config.victim_path)
        self.victim = load_victim(self.path, train_command="")

    def load(self, **changes: Any) -> TrainedVictim:
        config = OmegaConf.merge(self.config, {})
        for key, value in changes.items():
            OmegaConf.update(config, key.replace("__", "."), value, merge=False)
        return build.victim_of(config, self.data, "medrobust train", CPU)

    def write(self, path: Path, **meta: Any) -> Path:
        save_victim(path, self.victim, replace(self.victim.meta, **meta))
        return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("place"))


def slim(classes: int) -> Any:
    torch.manual_seed(1)
    return vgg_slim.build(classes, name="vgg16_slim", width=0.05).freeze()


def test_the_victim_of_the_choices_is_loaded_once(place: Place) -> None:
    assert place.load().fingerprint == place.victim.fingerprint
    assert place.load() is place.load()


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"seed": 3}, "set victim_seed=3 to use this file"),
        ({"recipe": {"objective": {"name": "trades"}}}, "set objective=trades to use this file"),
        ({"recipe": {}}, "objective=None, expected objective=standard"),
        ({"classes": list("gfedcba")}, "the 7 classes g, f"),
        ({"task": "segmentation"}, "for segmentation"),
        ({"phantom": False}, "trained on real images, the data at hand are procedural"),
        ({"data_digest": "e" * 64}, "manifest eeeeeeeeeeee"),
    ],
)
@pytest.mark.parametrize("chosen", [True, False], ids=["a path of the user's", "the default path"])
def test_another_victim_is_refused_by_name(
    meta: dict[str, Any], message: str, chosen: bool, place: Place, tmp_path: Path
) -> None:
    kept = tmp_path / "kept.ckpt"
    shutil.copy2(place.path, kept)
    path = place.write(tmp_path / "other.ckpt" if chosen else place.path, **meta)
    try:
        with pytest.raises(VictimError, match=message) as caught:
            place.load(**({"victim_path": str(path)} if chosen else {}))
        assert "overwrite=true" in str(caught.value)
        if "seed" in meta:
            assert place.load(victim_path=str(path), victim_seed=3).meta.seed == 3
    finally:
        shutil.copy2(kept, place.path)


def test_another_network_at_the_path_is_refused(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "v.ckpt"
    save_victim(path, slim(7), place.victim.meta)
    with pytest.raises(VictimError, match=r"model=vgg16_slim, expected model=resnet18; set model="):
        place.load(victim_path=str(path))
    model = OmegaConf.load(CONF / "model/vgg16_slim.yaml")
    with pytest.raises(VictimError, match=r"set model\.width=0\.05 to use this file"):
        place.load(victim_path=str(path), model=model)
    found = place.load(victim_path=str(path), model=model, model__width=0.05)
    assert found.architecture["name"] == "vgg16_slim"
    with pytest.raises(VictimError, match=r"model\.network=test_resnet, expected .*resnet10t"):
        place.load(model__network="resnet10t")


def test_a_swapped_file_with_equal_times_is_read_again(place: Place, tmp_path: Path) -> None:
    path = place.write(tmp_path / "v.ckpt")
    first = place.load(victim_path=str(path))
    before, size = path.stat(), path.stat().st_size
    weights = torch.load(path, weights_only=True)
    other = load_victim(path, train_command="")
    with torch.no_grad():
        other.network.fc.bias += 1  # type: ignore[union-attr, operator]
    save_victim(path, other, first.meta)
    assert len(weights["state_dict"]) == len(other.state_dict())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (size, before.st_mtime_ns)
    assert place.load(victim_path=str(path)).fingerprint == other.fingerprint != first.fingerprint

    content = path.read_bytes()
    shutil.copy2(place.path, tmp_path / "third.ckpt")
    path.write_bytes((tmp_path / "third.ckpt").read_bytes())  # in place: the same inode
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(content) == path.stat().st_size
    assert place.load(victim_path=str(path)).fingerprint == first.fingerprint


Threat = Callable[..., TrainedTransfer]


@pytest.fixture
def threat(place: Place, tmp_path: Path) -> Threat:
    """The transfer threat from a slim network; keyword arguments change its checkpoint."""

    def make(seed: int = 0, model: dict[str, Any] | None = None, **meta: Any) -> TrainedTransfer:
        path = tmp_path / "surrogate.ckpt"
        save_victim(path, slim(len(meta.get("classes", "1234567"))), replace(place.victim.meta, **meta))  # fmt: skip  # noqa: E501
        return TrainedTransfer(
            build.surrogate_victim(path, "train"),
            path=str(path),
            model=model or {"name": "vgg16_slim"},
            seed=seed,
            train_command="train",
        )

    return make


def test_a_surrogate_that_is_what_the_config_says_serves(place: Place, threat: Threat) -> None:
    assert threat()(place.victim, NoDefense()).fingerprint


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"name": "mobilenet_v2"}}, "set model@threat.surrogate_model=vgg16_slim to use"),
        ({"seed": 4}, "set threat.surrogate_seed=0 to use this file"),
        ({"recipe": {"objective": {"name": "trades"}}}, "objective=trades, expected .*=standard"),
        ({"classes": list("1234567")}, "the 7 classes 1, 2"),
        ({"phantom": False}, "real images"),
        ({"data_digest": "e" * 64}, "manifest eeeeeeeeeeee"),
    ],
)
def test_another_surrogate_is_refused(
    changes: dict[str, Any], message: str, place: Place, threat: Threat
) -> None:
    with pytest.raises(VictimError, match=message):
        threat(**changes)(place.victim, NoDefense())


def test_features_come_from_the_victim_that_the_settings_name(place: Place, tmp_path: Path) -> None:
    data, path = place.data, place.write(tmp_path / "v.ckpt")
    assert OfVictim(str(path), "resnet18", "layer1").extractor(data)
    for wrong in ({"model": "resnet50"}, {"seed": 1}):
        with pytest.raises(VictimError, match=r"expected (model=resnet50|seed=1)"):
            OfVictim(**({"path": str(path), "model": "resnet18", "tap": "layer1"} | wrong)).network(data)  # fmt: skip  # noqa: E501
    place.write(path, recipe={"objective": {"name": "trades"}})
    with pytest.raises(VictimError, match="objective=trades, expected objective=standard"):
        OfVictim(str(path), "resnet18", "layer1").network(data)
