"""A checkpoint says what it holds, and that is compared with what is claimed of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medrobust.model.core.checkpoint import VictimMeta
from medrobust.model.core.error import VictimError
from medrobust.model.core.expected import Expected

TRADES = {"_target_": "medrobust.objective.trades.TRADES", "name": "trades", "beta": 6.0}
META = VictimMeta(
    data="d", data_key="d_28px", data_digest="d" * 64, phantom=False, task="classification",
    classes=["a", "b"], seed=3, epochs=2, best_epoch=1, recipe={"objective": TRADES},
)  # fmt: skip
SLIM = {"builder": "vgg_slim", "num_classes": 2, "name": "slim", "width": 0.25, "mean": [0.5] * 3}
MODEL = {
    "_target_": "medrobust.model.vgg_slim.build", "name": "slim", "width": 0.25, "mean": None,
    "pretrained": False,
}  # fmt: skip
KEYS = {"model": "model", "objective": "objective", "seed": "victim_seed"}


def check(meta: VictimMeta = META, architecture: dict[str, Any] = SLIM, **claims: Any) -> None:
    Expected(**claims, keys=KEYS).check(Path("v.ckpt"), meta, architecture, "medrobust train X")


def test_a_checkpoint_that_is_what_is_claimed_passes() -> None:
    check()
    check(
        task="classification", classes=("a", "b"), phantom=False, data_digest="d" * 64, seed=3,
        model=MODEL, objective=TRADES,
    )  # fmt: skip
    old = {**SLIM, "_target_": "medrobust.model.vgg_slim.build"}
    del old["builder"]
    check(architecture=old, model=MODEL)


def test_moving_a_file_makes_no_difference() -> None:
    check(
        model=MODEL | {"_target_": "medrobust.model.network.vgg_slim.build"},
        objective=TRADES | {"_target_": "medrobust.objective.core.robust.trades.TRADES"},
    )


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"task": "segmentation"}, "for classification, the data at hand are for segmentation"),
        ({"classes": ["b", "a"]}, r"classes a, b \(d_28px\), the data at hand have 2: b, a"),
        ({"classes": ["a", "c"]}, "have 2: a, c"),
        ({"phantom": True}, "real images, the data at hand are procedural phantoms"),
        ({"data_digest": "e" * 64}, "manifest dddddddddddd.*eeeeeeeeeeee"),
        ({"seed": 0}, "with seed=3, expected seed=0; set victim_seed=3 to use this file, or"),
        ({"model": {"name": "resnet18"}}, "model=slim, expected model=resnet18; set model=slim to"),
        (
            {"model": MODEL | {"width": 0.5}},
            r"model\.width=0\.25, expected model\.width=0\.5; set model\.width=0\.25 to",
        ),
        (
            {"model": MODEL | {"_target_": "medrobust.model.vgg.build"}},
            r"model\.builder=vgg_slim, expected model\.builder=vgg; train it",
        ),
        ({"objective": {"name": "standard"}}, "objective=trades, expected objective=standard"),
        ({"objective": TRADES | {"beta": 1.0}}, r"set objective\.beta=6\.0 to use"),
        (
            {"objective": TRADES | {"_target_": "medrobust.objective.mart.MART"}},
            r"objective\._target_=TRADES, expected objective\._target_=MART",
        ),
    ],
)  # fmt: skip
def test_what_differs_is_named_with_what_fixes_it(claims: dict[str, Any], message: str) -> None:
    with pytest.raises(VictimError, match=message) as caught:
        check(**claims)
    assert "v.ckpt" in str(caught.value)
    assert "medrobust train X overwrite=true" in str(caught.value)


def test_all_choices_that_differ_are_named_together() -> None:
    with pytest.raises(
        VictimError,
        match="set model=slim objective=trades victim_seed=3 to use this file",
    ):
        check(seed=0, model={"name": "resnet18"}, objective={"name": "standard"})


def test_a_file_that_does_not_say_its_objective_is_refused() -> None:
    for recipe in ({}, {"objective": None}, {"objective": "standard"}):
        with pytest.raises(VictimError, match="objective=None, expected objective=standard"):
            check(replace(META, recipe=recipe), objective={"name": "standard"})


def test_text_of_a_file_is_quoted_where_a_shell_may_get_it() -> None:
    evil = replace(META, recipe={"objective": {"name": "x; rm -rf ~"}})
    with pytest.raises(VictimError, match="set 'objective=x; rm -rf ~' to use"):
        check(evil, objective={"name": "standard"})
