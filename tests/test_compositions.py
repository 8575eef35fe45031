"""A remembered composition is the one that Hydra makes, and belongs to its test alone."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import Container, DictConfig, OmegaConf, open_dict

from medrobust.resolvers import register
from tests.support.compositions import CONF, composed_anew

PGD = ["attack=pgd", "attack/target=fixed_class"]


@pytest.fixture(autouse=True)
def resolvers() -> Iterator[None]:
    register()
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


def composed(name: str, words: list[str], folder: Path = CONF) -> DictConfig:
    with initialize_config_dir(str(folder), version_base="1.3"):
        return compose(name, overrides=words, return_hydra_config=True)


def nodes(config: Any) -> list[object]:
    """Every node's raw value, type, place and flags."""
    content = config._content if isinstance(config, Container) else config._value()
    if isinstance(content, dict):
        content = [(key, nodes(node)) for key, node in content.items()]
    elif isinstance(content, list):
        content = [nodes(node) for node in content]
    return [type(config), replace(config._metadata, resolver_cache={}), content]  # without the time


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("evaluate", [*PGD, "attack.target.label=2", "eps=1/255"]),
        ("evaluate", [*PGD, "attack.target.label=3", "seed=4"]),
        ("evaluate", ["experiment=medrdf/table3", "+defense.new={a: [1, '${seed}']}"]),
        ("evaluate", ["~logger", "threat=transfer", "model@threat.surrogate_model=vgg16"]),
        ("train", ["defense=comdefend", "data=chest_xray", "trainer.max_epochs=3"]),
    ],
)
def test_it_is_the_one_that_hydra_makes(name: str, words: list[str]) -> None:
    with composed_anew():
        expected = composed(name, words)
    for _ in range(2):
        found = composed(name, words)
        assert OmegaConf.to_yaml(found) == OmegaConf.to_yaml(expected)
        assert nodes(found) == nodes(expected)
        with open_dict(found):  # the next test does not see it
            found.data.added = 1
            found.hydra.overrides.task.clear()
            del found.paths


@pytest.mark.parametrize("word", ["attack=unheard", "attack.unheard=1", "~attack.eps=3", "seed=,"])
def test_a_mistake_is_told_as_hydra_tells_it(word: str) -> None:
    messages = set()
    for _ in range(2):
        with pytest.raises(HydraException) as caught:
            composed("evaluate", ["attack=pgd", word])
        messages.add(str(caught.value))
    with composed_anew(), pytest.raises(HydraException) as caught:
        composed("evaluate", ["attack=pgd", word])
    assert messages == {str(caught.value)}


def test_an_edited_file_of_another_folder_counts(tmp_path: Path) -> None:
    (tmp_path / "group").mkdir()
    for name in ("one", "two"):
        (tmp_path / f"group/{name}.yaml").write_text(f"name: {name}\n")
    for name in ("one", "two"):
        (tmp_path / "main.yaml").write_text(f"defaults: [group: {name}]\n")
        assert composed("main", [], tmp_path).group.name == name
