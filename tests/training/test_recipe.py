from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from medrobust.checkpoint import differences
from medrobust.resolvers import register
from medrobust.training.recipe import recipe_of

CONF = str(Path(__file__).parents[2] / "conf")


def recipe(*overrides: str) -> dict[str, Any]:
    register()
    with initialize_config_dir(CONF, version_base="1.3"):
        return recipe_of(compose("train", overrides=list(overrides)))


@pytest.mark.by_default("data.root=/elsewhere", "trainer.devices=2")
@pytest.mark.parametrize(
    "override",
    [
        "data.root=/elsewhere",
        "data.workers=4",
        "paths.root=/elsewhere",
        "trainer=cpu",
        "trainer.devices=2",
        "logger=none",
        "overwrite=true",
        "progress_bar=false",
    ],
)
def test_places_devices_and_loggers_are_no_part_of_it(override: str) -> None:
    assert recipe(override) == recipe()


@pytest.mark.by_default(
    "data.size=32", "optimizer.lr=0.1", "seed=1", "trainer.precision=bf16-mixed"
)
@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "model=resnet50",
        "objective.class_balanced=true",
        "optimizer.lr=0.1",
        "recipe=medrdf",
        "trainer.max_epochs=3",
        "trainer.precision=bf16-mixed",
        "data.batch_size=7",
        "data.size=32",
        "data.limit_train=50",
        "early_stopping=2",
        "trainer.check_val_every_n_epoch=3",
    ],
)
def test_whatever_changes_a_weight_is(override: str) -> None:
    assert recipe(override) != recipe()


def test_choosing_among_all_epochs_is_not_stated() -> None:
    assert "check_val_every_n_epoch" not in recipe()  # as in checkpoints of before the key


def test_medrdf_recipe_is_the_papers() -> None:
    found = recipe("recipe=medrdf")
    optimizer, scheduler = found["optimizer"], found["scheduler"]
    assert optimizer["_target_"] == "torch.optim.SGD"
    assert (optimizer["momentum"], optimizer["weight_decay"], optimizer["lr"]) == (0.9, 1e-6, 1e-4)
    assert (scheduler["milestones"], scheduler["gamma"]) == ([50, 75], 0.1)
    assert (found["max_epochs"], found["data"]["batch_size"]) == (100, 10)


def test_differences_name_every_changed_key() -> None:
    old = {"a": 1, "b": {"c": 2, "d": 3}, "gone": 0}
    new = {"a": 1, "b": {"c": 4, "d": 3}, "new": 5}
    assert differences(old, new) == ["b.c: 2 -> 4", "gone: 0 -> None", "new: None -> 5"]
    assert differences(old, old) == []
