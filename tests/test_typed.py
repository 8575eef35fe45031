"""Every key and value of a config is checked against what takes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from medrobust.attack.core.base import Attack
from medrobust.attack.pgd import PGD
from medrobust.keys import EVALUATE, train
from medrobust.resolvers import register
from medrobust.signature import parameters_of
from medrobust.typed import ConfigError, check_config

CONF = Path(__file__).parents[1] / "conf"
CHOICES = ("attack=pgd", "defense=medrdf", "threat=adaptive", "logger=none")


@pytest.fixture(scope="module")
def evaluate() -> DictConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("evaluate", [*CHOICES, "data.phantom=true"])


@pytest.fixture(scope="module")
def training() -> DictConfig:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", ["logger=none"])


def said(config: DictConfig, keys: Any, key: str, value: Any) -> str:
    """What is said of one changed value; empty when it is accepted."""
    changed = config.copy()
    OmegaConf.set_struct(changed, False)
    OmegaConf.update(changed, key, value, force_add=True, merge=False)
    try:
        check_config(changed, keys, optional=("defense",))
    except ConfigError as error:
        return str(error)
    return ""


BOOLS = ("no", "maybe", "yes", None, 1, 0.5, [True])
COUNTS = ("no", None, 1e23, 0.5, True, [1], {"a": 1}, float("nan"))
SEEDS = (*COUNTS, -1, 2**63)


@pytest.mark.by_default(
    "attack.steps-values14",
    "batch_size-values6",
    "eps-values13",
    "seed-values3",
    "trainer.devices-values30",
    "defense.noise-values23",
    "attack.loss-values21",
    "data.augment-values27",
    "maps-values33",
)
@pytest.mark.parametrize(
    ("key", "values"),
    [
        *((key, BOOLS) for key in ("quantize", "perturbation", "data.phantom")),
        *((key, SEEDS) for key in ("seed", "victim_seed", "defense_seed")),
        *((key, (*COUNTS, 0)) for key in ("batch_size", "copies", "eot_samples")),
        ("rerun", ("maybe", "no", None, 1)),
        ("split", ("tset", None, 1)),
        ("precision", ("fp16", 32)),
        ("stopping", ("mean", True)),
        ("eps", ("no", None, -1, 1e23, "8/", [1])),
        *((key, COUNTS) for key in ("attack.steps", "attack.restarts", "defense.copies")),
        ("attack.early_stop", BOOLS),
        *((key, (True, [1], {})) for key in ("attack.eps", "attack.step_size", "defense.alpha")),
        ("attack.loss", ("dlr", 3, {"_target_": "medrobust.attack.pgd.PGD", "eps": 0.1})),
        ("attack.target", (0, True)),
        ("defense.noise", ("gaussian", {"_target_": "medrobust.attack.pgd.PGD", "eps": 0.1})),
        ("threat.eot_samples", ("many", None, 0.5)),
        ("data.split_seed", ("abc", None, 1e23)),
        ("data.limit_test", ("no", 0.5)),
        ("data.augment", ("no", 0.5, {"a": 1}, [1])),
        ("data.workers", ("no", None)),
        ("data.name", (5, True)),
        ("trainer.devices", ("no", 0, -2, None, ["a"], 0.5)),
        ("trainer.accelerator", ("cpuu", None)),
        ("paths.rows", (None, 3)),
        ("maps", ({"taps": ["layer1"], "imgs": 4}, {"taps": ["layer1"]}, 3)),
        ("iterates", ({"at": [0], "images": 1}, [1])),
        ("convergence", ({"images": 0}, 4)),
    ],
)
def test_values_of_another_type_are_refused_by_name(
    evaluate: DictConfig, key: str, values: Sequence[Any]
) -> None:
    assert said(evaluate, EVALUATE, key, OmegaConf.select(evaluate, key)) == ""
    for value in values:
        message = said(evaluate, EVALUATE, key, value)
        assert message.startswith(key), (value, message)
        assert "expected" in message
        assert len(message) < 300
        assert "\n" not in message


@pytest.mark.by_default("resume-values4", "trainer.max_epochs-values5")
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("overwrite", BOOLS),
        ("progress_bar", BOOLS),
        ("deterministic", ("no", None, 3)),
        ("early_stopping", ("no", 0, 0.5, True)),
        ("resume", (True, 3)),
        ("trainer.max_epochs", ("no", None, 0, -1, 0.5)),
        ("trainer.enable_checkpointing", ("no", 3)),
        ("trainer.limit_train_batches", ("abc",)),
        ("trainer.check_val_every_n_epoch", (0, "no", 0.5)),
        ("optimizer.lr", ("fast", True, None)),
        ("checkpoint", (None, 3)),
    ],
)
def test_so_are_those_of_a_training(training: DictConfig, key: str, values: Sequence[Any]) -> None:
    for value in values:
        message = said(training, train(), key, value)
        assert message.startswith(key), (value, message)
        assert "expected" in message


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("attack.stpes", r"attack.stpes is no key; did you mean attack.steps\? attack has "),
        ("attack.lose", "did you mean attack.loss"),
        ("threat.eto", "did you mean threat.eot"),
        ("data.phantm", "did you mean data.phantom"),
        ("data.colour", "data.colour is no key; data has .*phantom_n"),
        ("defense.noise.sigmaa", "defense.noise.sigmaa is no key; "),
        ("trainer.device", "did you mean trainer.devices"),
        ("paths.row", "did you mean paths.rows"),
        ("sede", "did you mean seed"),
        ("copie", "did you mean copies"),  # the beginning of a name that others refer to
        ("attack._convert_", "attack._convert_ is 3, expected none"),
    ],
)
def test_a_misspelled_key_is_told_with_those_there_are(
    evaluate: DictConfig, key: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(said(evaluate, EVALUATE, key, 3))


def test_what_is_right_passes(evaluate: DictConfig, training: DictConfig) -> None:
    right = {
        "eps": 0.1,
        "rerun": "stale",
        "attack.eps": "4/255",
        "attack.loss": {"_target_": "medrobust.attack.loss.dlr.DLR"},
        "data.limit_test": 3,
        "trainer.devices": "auto",
        "attack.target": {"_target_": "medrobust.attack.target.next_class.NextClass"},
        "attack.steps": {"_target_": "operator.mul", "_args_": [2, 3]},
        "data.augment": {"_target_": "torch.nn.Identity"},
        "maps": {"taps": ["layer1"], "images": 2},
        "figure": {"kind": {"_target_": "torch.device", "device": "cpu"}},
    }
    for key, value in right.items():
        assert said(evaluate, EVALUATE, key, value) == "", key
    assert said(training, train(), "trainer.gradient_clip_val", 0.5) == ""
    assert "no key" in said(training, train(), "trainer.gradient_clip", 0.5)


def test_a_key_of_ones_own_serves_others(evaluate: DictConfig) -> None:
    changed = evaluate.copy()
    OmegaConf.set_struct(changed, False)
    changed.strength = 40
    with pytest.raises(ConfigError, match="strength is no key"):
        check_config(changed, EVALUATE)
    for text in ("${strength}", "${ strength }"):
        changed.attack.steps = text
        check_config(changed, EVALUATE)
    changed.paths.mine = "/x"
    with pytest.raises(ConfigError, match=r"paths.mine is no key"):
        check_config(changed, EVALUATE)
    changed.paths.data = "${paths.mine}/data"
    check_config(changed, EVALUATE)


def test_a_missing_key_is_named(evaluate: DictConfig) -> None:
    for key in ("table", "logger", "seed", "defense"):
        changed = evaluate.copy()
        OmegaConf.set_struct(changed, False)
        del changed[key]
        with pytest.raises(ConfigError, match=f"{key} is missing"):
            check_config(changed, EVALUATE, running=False)


def test_what_has_no_value_or_cannot_be_imported(evaluate: DictConfig) -> None:
    assert "attack.steps has no value" in said(evaluate, EVALUATE, "attack.steps", "???")
    message = said(evaluate, EVALUATE, "attack._target_", "medrobust.attack.pgd.PDG")
    assert message.startswith("attack._target_=medrobust.attack.pgd.PDG cannot be imported")


class Open(PGD):
    """Somebody's attack, which does as it likes with other names."""

    def __init__(self, eps: float, **options: Any) -> None:
        super().__init__(eps)


class Sloppy(Attack):
    """Its annotation is wrong of its own default."""

    def __init__(self, eps: float = None) -> None:  # type: ignore[assignment]  # noqa: RUF013
        super().__init__()


def test_somebody_elses_classes() -> None:
    assert parameters_of(Open).open
    assert not parameters_of(PGD).open
    assert "steps" in parameters_of(Open).names  # of its base
    loose = {"_target_": f"{__name__}.Open", "eps": 1, "colour": "red"}
    sloppy = {"_target_": f"{__name__}.Sloppy", "eps": None}
    for node in (loose, sloppy):
        check_config(OmegaConf.create({"attack": node}), {"attack": Any})
    with pytest.raises(ConfigError, match=r"attack.eps is 'x', expected float"):
        check_config(OmegaConf.create({"attack": {**loose, "eps": "x"}}), {"attack": Any})


def test_a_reference_to_no_key_is_told(evaluate: DictConfig) -> None:
    message = said(evaluate, EVALUATE, "attack.steps", "${stepz}")
    assert message.startswith(
        "attack.steps cannot be resolved (Interpolation key 'stepz' not found"
    )
    assert message.endswith("set attack.steps to a value of its own")


def test_the_table_of_a_single_cell_is_checked_too(evaluate: DictConfig) -> None:
    assert said(evaluate, EVALUATE, "table.metric", "auroc") == ""
    assert said(evaluate, EVALUATE, "table.metric", "nope").startswith("table.metric='nope' is no")
    assert "table" in said(evaluate, EVALUATE, "table.rowz", ["attack"])


def test_what_a_training_sets_itself_is_no_key(training: DictConfig) -> None:
    for name in ("log_every_n_steps", "callbacks", "deterministic"):
        assert said(training, train(), f"trainer.{name}", 1).startswith(f"trainer.{name} is no key")
