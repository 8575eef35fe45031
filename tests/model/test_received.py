"""A checkpoint of unknown origin: nothing in it makes loading it ask a network."""

import copy
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from medrobust.fingerprint import digest
from medrobust.model import mobilenet, unet
from medrobust.model.core.checkpoint import (
    VictimError,
    VictimMeta,
    load_victim,
    read_meta,
    save_victim,
)
from medrobust.model.core.victim import Victim

META = VictimMeta(
    data="d", data_key="d_28px", data_digest="d" * 64, phantom=False, task="classification",
    classes=["a", "b", "c"], seed=0, epochs=2, best_epoch=1,
)  # fmt: skip


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """Requests that were made of the network by this thread, of which there must be none.

    A logger of an earlier test may still be trying its server, from a thread of its own.
    """
    seen: list[Any] = []
    here = threading.get_ident()

    def refuse(*address: Any, **_: Any) -> None:
        if threading.get_ident() == here:
            seen.append(address)
        raise OSError("no network here")

    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return seen


@pytest.fixture(scope="module")
def mobile() -> Victim:
    return mobilenet.build(3, name="m", network="mobilenetv2_035").freeze()


def received(path: Path, victim: Victim, **parts: Any) -> Path:
    """Write a checkpoint as someone who knows its format."""
    save_victim(path, victim.freeze(), META)
    content = torch.load(path, weights_only=True) | parts
    plain = ("format", "architecture", "fingerprint", "meta")
    torch.save(content | {"digest": digest({key: content[key] for key in plain})}, path)
    return path


@pytest.mark.parametrize(
    "change",
    [
        {"network": "hf-hub:evil/net"}, {"network": "hf-hub:evil/net", "pretrained": True},
        {"pretrained": True}, {"network": "local-dir:/tmp/evil", "pretrained": True},
        {"network": "mobilenetv2_050.lamb_in1k", "pretrained": True},
    ],
)  # fmt: skip
def test_a_hub_name_is_refused_before_anything_is_asked(
    change: dict[str, Any], asked: list[Any], mobile: Victim, tmp_path: Path
) -> None:
    path = received(tmp_path / "v.ckpt", mobile, architecture=mobile.architecture | change)
    with pytest.raises(VictimError, match="architecture"):
        load_victim(path, train_command="")
    assert asked == []


@pytest.mark.parametrize(
    "change", [{"encoder": "tu-hf-hub:evil/net"}, {"encoder_weights": "imagenet"}]
)
def test_an_encoder_from_a_hub_is_refused(
    change: dict[str, Any], asked: list[Any], tmp_path: Path
) -> None:
    victim = unet.build(3, name="u", encoder="mobilenet_v2", depth=3)
    path = received(tmp_path / "v.ckpt", victim, architecture=victim.architecture | change)
    with pytest.raises(VictimError, match="architecture"):
        load_victim(path, train_command="")
    assert asked == []


def test_a_network_of_the_tag_of_published_weights_is_built_without_them(
    asked: list[Any], tmp_path: Path
) -> None:
    victim = mobilenet.build(3, name="m", network="mobilenetv2_050.lamb_in1k")
    path = received(tmp_path / "v.ckpt", victim)
    assert load_victim(path, train_command="").fingerprint == victim.fingerprint
    assert asked == []


def test_a_network_of_another_size_than_its_classes_is_not_built(
    mobile: Victim, tmp_path: Path
) -> None:
    huge = mobile.architecture | {"num_classes": 2**40}
    path = received(tmp_path / "v.ckpt", mobile, architecture=huge)
    with pytest.raises(VictimError, match=f"3 classes for a network of {2**40}"):
        load_victim(path, train_command="")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_precision_are_named(
    dtype: torch.dtype, mobile: Victim, tmp_path: Path
) -> None:
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in mobile.state_dict().items()}
    path = received(tmp_path / "v.ckpt", mobile, state_dict=state)
    with pytest.raises(VictimError, match=f"mean in {dtype}, expected torch.float32"):
        load_victim(path, train_command="")
    with pytest.raises(VictimError, match=f"is in {dtype}, expected torch.float32"):
        save_victim(path, copy.deepcopy(mobile).to(dtype), META)


@pytest.mark.by_default(
    "meta-value1",
    "meta.classes-3",
    "meta.phantom-1",
    "meta.recipe-x",
    "meta.seconds-nan",
    "state_dict-value4",
    "state_dict-value5",
    "meta.seconds--1.0",
)
@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("meta", None), ("meta", [1]), ("architecture", None), ("architecture", [1]),
        ("state_dict", [1]), ("state_dict", {"a": 1}), ("state_dict", {1: torch.ones(1)}),
        ("fingerprint", 7), ("format", "1"), ("format", True),
        ("meta.classes", 3), ("meta.classes", {"a": 1}), ("meta.classes", ["a", "\x1b[2J", "c"]),
        ("meta.seconds", "long"), ("meta.seconds", float("nan")), ("meta.seconds", -1.0),
        ("meta.scores", [1]), ("meta.scores", {"a": "b"}), ("meta.seed", "0"),
        ("meta.recipe", "x"), ("meta.recipe", {"x": torch.ones(1)}), ("meta.phantom", 1),
        ("meta.versions", {"torch": 2}),
    ],
)  # fmt: skip
def test_values_of_other_types_are_refused_by_name(
    part: str, value: Any, mobile: Victim, tmp_path: Path
) -> None:
    path = tmp_path / "v.ckpt"
    save_victim(path, mobile, META)
    content = torch.load(path, weights_only=True)
    name, _, key = part.partition(".")
    content[name] = content[name] | {key: value} if key else value
    torch.save(content, path)
    for use in (read_meta, lambda path: load_victim(path, train_command="")):
        with pytest.raises(VictimError, match=rf"not a victim's checkpoint \(.*{key or name}"):
            use(path)
