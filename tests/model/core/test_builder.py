"""Builders are found by their own names, and architectures choose nothing else."""

import importlib
import inspect
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
import yaml

import medrobust.model
from medrobust.fingerprint import digest, digest_tensors
from medrobust.model import mobilenet
from medrobust.model.core import builder
from medrobust.model.core.builder import WEIGHTS, check_architecture, find, identity
from medrobust.model.core.error import VictimError

CONF = Path(__file__).parents[3] / "conf/model"
CONFIGS = {path.stem: yaml.safe_load(path.read_text()) for path in CONF.glob("*.yaml")}
FAMILIES = sorted({config["_target_"].split(".")[-2] for config in CONFIGS.values()})
MOBILE = {"builder": "mobilenet", "num_classes": 3, "name": "m", "network": "mobilenetv2_050"}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder below the package; what lies there is found."""
    folder = tmp_path / f"later_{secrets.token_hex(4)}"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.setattr(medrobust.model, "__path__", [*medrobust.model.__path__, str(tmp_path)])
    importlib.invalidate_caches()
    builder._modules.cache_clear()
    yield folder
    builder._modules.cache_clear()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_builder_is_found_by_both_of_its_names(family: str) -> None:
    new, old = {"builder": family}, {"_target_": f"medrobust.model.{family}.build"}
    assert find(new) is find(old)
    assert find(new).__module__.split(".")[-1] == family
    assert identity(new) == identity(old) == old


def test_a_builder_that_moved_is_found(elsewhere: Path) -> None:
    (elsewhere / "castle.py").write_text("def build(num_classes):\n    return num_classes\n")
    assert find({"builder": "castle"})(3) == 3
    assert find({"_target_": "medrobust.model.castle.build"})(4) == 4


def test_two_builders_of_one_name_are_refused(elsewhere: Path) -> None:
    (elsewhere / "resnet.py").write_text("def build(num_classes):\n    return None\n")
    with pytest.raises(VictimError, match="no builder 'resnet'"):
        find({"builder": "resnet"})


@pytest.mark.parametrize(
    "named",
    [
        {"builder": "graph"}, {"builder": "builder"}, {"builder": "none"}, {"builder": "a.b"},
        {"builder": ["resnet"]}, {"_target_": "os.system"}, {},
        {"_target_": "medrobust.model.core.resnet.build"},
        {"builder": "resnet", "_target_": "medrobust.model.vgg.build"},
    ],
)  # fmt: skip
def test_nothing_else_is_a_builder(named: dict[str, Any]) -> None:
    with pytest.raises(VictimError, match=r"file: .*builder"):
        find(named, "file")


@pytest.mark.parametrize("family", FAMILIES)
def test_text_in_an_architecture_is_a_known_name_and_fetches_nothing(family: str) -> None:
    build = find({"builder": family})
    parameters = inspect.signature(build).parameters
    for name, kind in get_type_hints(build, include_extras=True).items():
        if name in parameters and name not in WEIGHTS and str in (kind, *get_args(kind)):
            assert hasattr(kind, "__metadata__"), f"{family}.{name} is free text"
    needed = {
        "num_classes": 2, "name": "n", "network": _NETWORK.get(family), "backbone": "resnet10t",
    }  # fmt: skip
    with torch.device("meta"):
        made = build(**{key: value for key, value in needed.items() if key in parameters})
    # What a builder takes and does not keep decides where weights come from, and nothing else.
    assert set(parameters) - set(made.architecture) == set(parameters) & set(WEIGHTS)
    assert check_architecture(made.architecture, "file")


_NETWORK = {"resnet": "resnet10t", "resnet_gcn": "resnet10t", "vgg": "vgg11", "mobilenet": "mobilenetv2_035"}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "hf-hub:evil/net"}, "no network of timm"),
        ({"network": "hf_hub:evil/net"}, "no network of timm"),
        ({"network": "local-dir:/tmp"}, "no network of timm"),
        ({"network": "evil/net"}, "no network of timm"),
        ({"network": "mobilenetv2_050\n"}, "architecture.network is"),
        ({"network": None}, "architecture.network is None"),
        ({"pretrained": True}, r"unknown arguments \['pretrained'\]"),
        ({"pretrained": False}, r"unknown arguments \['pretrained'\]"),
        ({"cache_dir": "/tmp"}, r"unknown arguments \['cache_dir'\]"),
        ({"num_classes": "3"}, "num_classes is '3', expected int"),
        ({"num_classes": True}, "num_classes is True"),
        ({"drop_rate": float("nan")}, "drop_rate is nan"),
        ({"small_stem": "yes"}, "small_stem is 'yes'"),
        ({"mean": [0.5, "x"]}, "mean is"),
        ({"name": "../../etc"}, "no name for a model"),
        ({"name": "a;b"}, "no name for a model"),
    ],
)
def test_other_arguments_are_refused(change: dict[str, Any], message: str) -> None:
    assert check_architecture(MOBILE, "file")
    with pytest.raises(VictimError, match=f"file: .*{message}"):
        check_architecture(MOBILE | change, "file")


def test_missing_arguments_and_other_encoders_are_refused() -> None:
    with pytest.raises(VictimError, match=r"lacks \['network'\]"):
        check_architecture({k: v for k, v in MOBILE.items() if k != "network"}, "file")
    unet = {"builder": "unet", "num_classes": 2, "name": "u"}
    for good in ("resnet18", "tu-resnet18", "tu-mobilenetv3_small_050.lamb_in1k"):
        check_architecture(unet | {"encoder": good}, "file")
    for bad in ("tu-hf-hub:evil/net", "tu-", "nothing", "timm-regnet/../x"):
        with pytest.raises(VictimError, match=r"architecture\.encoder"):
            check_architecture(unet | {"encoder": bad}, "file")


def test_a_fingerprint_is_that_of_the_first_checkpoints() -> None:
    victim = mobilenet.build(3, name="m", network="mobilenetv2_050")
    before = {**victim.architecture, "_target_": "medrobust.model.mobilenet.build"}
    del before["builder"]
    assert victim.fingerprint == digest([before, digest_tensors(victim.state_dict())])
