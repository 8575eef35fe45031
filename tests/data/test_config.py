"""Every conf/data file builds its dataset, and its `key` string is the datamodule's key."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate

from medrobust.resolvers import register
from tests.support.kinds import slow_unless

CONF = Path(__file__).parents[2] / "conf"
NAMES = sorted(p.stem for p in (CONF / "data").glob("*.yaml") if p.stem not in ("base", "medmnist"))


@pytest.fixture(autouse=True)
def _resolvers():
    register()
    GlobalHydra.instance().clear()


def data_config(tmp_path, name, *overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        paths = [f"paths.data={tmp_path}", f"paths.manifests={tmp_path}/manifests"]
        return compose("train", overrides=[f"data={name}", *paths, *overrides]).data


@pytest.mark.by_default("dermamnist-False", "dermamnist-True", "kvasir_seg-True")
@pytest.mark.parametrize(
    ("name", "phantom"),
    [
        slow_unless(phantom or name == "dermamnist", name, phantom, id=f"{name}-{phantom}")
        for name in NAMES
        for phantom in (False, True)
    ],
)
def test_key_and_name(tmp_path, name, phantom):
    config = data_config(tmp_path, name, f"data.phantom={phantom}", "data.size=32")
    module = instantiate(config)
    assert module.name == config.name == name
    derived = instantiate(config, key=None)
    assert config.key == derived.key == f"{module.variant}_32px" + "_phantom" * phantom
    assert module.root == tmp_path / name.removesuffix("_binary")


@pytest.mark.by_default("dermamnist", "ead2019", "kvasir_seg")
@pytest.mark.parametrize("name", NAMES)
def test_default_key_matches(tmp_path, name):
    config = data_config(tmp_path, name)
    assert config.key == instantiate(config, key=None).key


def test_any_medmnist_set(tmp_path):
    module = instantiate(data_config(tmp_path, "medmnist", "data.name=octmnist"))
    assert (module.key, module.num_classes, module.channels) == ("octmnist_28px", 4, 1)


def test_every_key_is_explained():
    for file in (CONF / "data").glob("*.yaml"):
        for line in file.read_text().splitlines():
            plain = line.startswith(("#", "_target_", "defaults", "name: " + file.stem, "  - "))
            assert plain or "  # " in line, f"{file.name}: {line}"


@pytest.mark.by_default("train")
@pytest.mark.parametrize("script", ["train", "evaluate"])
def test_masks_bring_their_network_and_objective_unless_others_are_named(script):
    def chosen(*words):
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose(script, overrides=list(words))
        return config.model.name, config.objective.name, config.victim_path.split("/", 3)[3]

    path = "unet/dice_ce/seed_0.ckpt"
    for name in ("kvasir_seg", "covid_ct"):
        assert chosen(f"data={name}") == ("unet", "dice_ce", path)
    boxes = ("retinanet", "retinanet", "retinanet/retinanet/seed_0.ckpt")
    assert chosen("data=ead2019") == boxes
    other = chosen("data=kvasir_seg", "objective=standard", "model=resnet50")
    assert other[:2] == ("resnet50", "standard")
    assert chosen("data=isic2019")[:2] == chosen()[:2] == ("resnet18", "standard")
