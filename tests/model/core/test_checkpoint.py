import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from medrobust.fingerprint import digest
from medrobust.model import mobilenet, unet
from medrobust.model.core.checkpoint import (
    MissingVictimError,
    TrainedVictim,
    VictimError,
    VictimMeta,
    load_victim,
    read_meta,
    save_victim,
)
from medrobust.model.core.expected import Expected
from medrobust.model.core.victim import Victim

COMMAND = "medrobust train data=dermamnist data.phantom=true model=mobilenet_v2 seed=0"
META = VictimMeta(
    data="dermamnist",
    data_key="dermamnist_28px",
    data_digest="d" * 64,
    phantom=False,
    task="classification",
    classes=["a", "b", "c"],
    seed=0,
    epochs=2,
    best_epoch=1,
    scores={"val/accuracy": 0.5},
)


@pytest.fixture
def victim() -> Victim:
    torch.manual_seed(0)
    return mobilenet.build(3, name="mobilenet_v2", network="mobilenetv2_050").freeze()


@pytest.fixture
def path(tmp_path: Path, victim: Victim) -> Path:
    path = tmp_path / "deep" / "seed_0.ckpt"
    save_victim(path, victim, META)
    return path


def load(path: Path, **expected: Any) -> TrainedVictim:
    return load_victim(path, train_command=COMMAND, expected=Expected(**expected))


def rewrite(path: Path, **changes: Any) -> None:
    """Change parts of a checkpoint as someone who knows its format, digest included."""
    content = torch.load(path, weights_only=True) | changes
    plain = {key: content[key] for key in ("format", "architecture", "fingerprint", "meta")}
    torch.save(content | {"digest": digest(plain)}, path)


def test_a_victim_comes_back_bit_for_bit_frozen_and_with_its_meta(
    path: Path, victim: Victim
) -> None:
    loaded = load(path, classes=["a", "b", "c"], data_digest="d" * 64)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(x), victim(x))
    assert loaded.fingerprint == victim.fingerprint
    assert loaded.architecture == victim.architecture
    assert loaded.meta == read_meta(path) == META
    assert not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())


def test_a_segmenter_comes_back(tmp_path: Path) -> None:
    net = unet.build(2, name="unet", encoder="mobilenet_v2", depth=3).freeze()
    path = tmp_path / "victim.ckpt"
    save_victim(path, net, replace(META, classes=["background", "lung"]))
    x = torch.rand(1, 1, 32, 32)
    assert torch.equal(load(path)(x), net(x))


def test_a_missing_victim_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingVictimError) as caught:
        load(tmp_path / "none.ckpt")
    assert COMMAND in str(caught.value)
    assert str(tmp_path / "none.ckpt") in str(caught.value)


@pytest.mark.parametrize(
    ("expected", "message"),
    [({"classes": ["a"] * 7}, "3 classes.*have 7"), ({"data_digest": "e" * 64}, "eeeeeeeeeeee")],
)
def test_a_victim_of_other_data_is_refused(
    path: Path, expected: dict[str, Any], message: str
) -> None:
    with pytest.raises(VictimError, match=message):
        load(path, **expected)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.37, 0.5, 0.77, 0.9, 0.999])
def test_a_flipped_byte_never_gives_another_victim(
    path: Path, victim: Victim, share: float
) -> None:
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 0xFF
    path.write_bytes(data)
    try:
        loaded = load(path)
    except VictimError:
        return
    assert loaded.fingerprint == victim.fingerprint  # it hit the padding between the parts
    assert loaded.meta == META


@pytest.mark.parametrize("keep", [0, 10, 5000])
def test_a_truncated_file_is_refused(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(VictimError, match=r"seed_0\.ckpt"):
        load(path)


def test_a_foreign_file_is_refused(path: Path) -> None:
    torch.save({"state_dict": {}}, path)
    with pytest.raises(VictimError, match="expected the parts"):
        load(path)
    path.write_text("hello")
    with pytest.raises(VictimError, match="not a victim"):
        load(path)


def test_changed_meta_and_weights_are_noticed(path: Path) -> None:
    content = torch.load(path, weights_only=True)
    original = path.read_bytes()
    content["meta"]["data_digest"] = "f" * 64
    torch.save(content, path)
    with pytest.raises(VictimError, match="changed after it was written"):
        load(path)

    path.write_bytes(original)
    state = torch.load(path, weights_only=True)["state_dict"]
    state["network.classifier.bias"][0] += 1
    rewrite(path, state_dict=state)
    with pytest.raises(VictimError, match="fingerprint"):
        load(path)


def test_weights_of_another_architecture_are_refused(path: Path, victim: Victim) -> None:
    rewrite(path, architecture={**victim.architecture, "network": "mobilenetv2_100"})
    with pytest.raises(VictimError, match="do not agree"):
        load(path)


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


def test_code_in_a_file_is_not_run(path: Path, tmp_path: Path) -> None:
    content = torch.load(path, weights_only=True)
    content["meta"]["created"] = Evil(tmp_path / "run")
    torch.save(content, path)
    with pytest.raises(VictimError, match="holds code"):
        load(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "target",
    ["os.mkdir", "medrobust.model.mobilenet.timm_network", "medrobust.model.x.y.build", None],
)
def test_a_file_cannot_choose_what_builds_it(
    path: Path, victim: Victim, tmp_path: Path, target: str | None
) -> None:
    rewrite(path, architecture={"_target_": target, "path": str(tmp_path / "run")})
    with pytest.raises(VictimError, match=r"name of a builder in medrobust\.model"):
        load(path)
    assert not (tmp_path / "run").exists()
    victim.architecture["_target_"] = target
    with pytest.raises(VictimError, match=r"name of a builder in medrobust\.model"):
        save_victim(tmp_path / "other.ckpt", victim, META)


def test_a_crash_while_writing_leaves_the_old_victim(
    path: Path, victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_handle: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        save_victim(path, victim, replace(META, seed=1))
    assert read_meta(path) == META
    assert [file.name for file in path.parent.iterdir()] == [path.name]
