"""Keys of `conf/evaluate.yaml` and `conf/train.yaml` that no class declares, with their types.

Groups such as `attack` are checked by their `_target_`; see `medrobust.typed`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypedDict

from medrobust.number import fraction, whole
from medrobust.signature import parameters_of

Number = float | str
"""A number, or a fraction such as 8/255."""


def _between(low: int, high: int | None = None) -> Callable[[int], None]:
    def check(value: int) -> None:
        whole(value, "value", low=low, high=high)

    return check


Seed = Annotated[int, _between(0, 2**63 - 1)]
Count = Annotated[int, _between(1)]


def _is_devices(value: int | str | list[int]) -> None:
    if isinstance(value, str) and not re.fullmatch(r"auto|[0-9]+(,[0-9]+)*", value):
        raise ValueError(f"{value!r} is no number of devices; expected 1, 2, …, auto, or 0,1")
    if isinstance(value, int) and value < 1 and value != -1:
        raise ValueError(f"{value} is no number of devices; expected 1, 2, …, or auto for all")


def _is_rule(value: Number | None) -> None:
    if value not in (None, "youden"):
        fraction(value, "value", above=True)


def _is_unit(value: Number) -> None:
    fraction(value, "value")


def _is_table(value: Any) -> None:
    from medrobust.report.table.config import TableConfig

    TableConfig.parse(value).check_metrics()


_TRAINER: dict[str, Any] = {
    "accelerator": Literal["auto", "cpu", "gpu", "cuda", "mps", "tpu"],
    "devices": Annotated[int | str | list[int], _is_devices],
    "strategy": str,
    "precision": int | str,
}
_PATHS = dict.fromkeys(("root", "data", "manifests", "checkpoints", "outputs"), str)
_BOTH: dict[str, Any] = {
    **dict.fromkeys(("model", "objective", "data", "logger"), Any),
    "paths": {**_PATHS, "cache": str, "rows": str},
    "seed": Seed,
    "victim_seed": Seed,
    "defense_seed": Seed,
    "victim_path": str,
}


class Iterates(TypedDict):
    """Iterations of an attack to record, and the number of images."""

    at: list[Count]
    images: Count


class Convergence(TypedDict):
    """The number of images whose losses are recorded."""

    images: Count


class Maps(TypedDict):
    """Layers to record, and the number of images."""

    taps: list[str]
    images: Count


EVALUATE: Mapping[str, Any] = {
    **_BOTH,
    **dict.fromkeys(("attack", "threat", "defense"), Any),
    "trainer": _TRAINER,
    "eps": Annotated[Number, _is_unit],
    "train": Literal["missing"] | None,
    "victim_training": dict[str, Any] | None,
    "defense_training": dict[str, Any] | None,
    "split": Literal["train", "val", "test"],
    "batch_size": Count,
    "precision": Literal["float32", "bf16"],
    "quantize": bool,
    "copies": Count,
    "stopping": Literal["fixed", "sequential"],
    "eot_samples": Count,
    "defender_draws": Count,
    "rerun": bool | Literal["stale"],
    "perturbation": bool,
    "operating_point": Annotated[Number | None, _is_rule],
    "iterates": Iterates | None,
    "convergence": Convergence | None,
    "maps": Maps | None,
    "table": Annotated[dict[str, Any], _is_table],
    "figure": Any,
}


_FIXED = {
    *("logger", "callbacks", "plugins", "deterministic", "inference_mode"),
    *("enable_progress_bar", "enable_model_summary", "num_sanity_val_steps", "log_every_n_steps"),
}
"""Arguments of Lightning's Trainer that `training.run` sets itself."""


def train() -> Mapping[str, Any]:
    """Return the keys of `conf/train.yaml`; `trainer` has those of Lightning's Trainer."""
    from pytorch_lightning import Trainer

    names, kinds, *_ = parameters_of(Trainer)
    known = {name: kinds.get(name, Any) for name in names if name not in _FIXED}
    return {
        **_BOTH,
        **dict.fromkeys(("defense", "optimizer", "scheduler"), Any),
        "trainer": {
            **known,
            **_TRAINER,
            "strategy": Any,
            "max_epochs": Count,
            "check_val_every_n_epoch": Count,
        },
        "checkpoint": str,
        "initial_checkpoint": str | None,
        "overwrite": bool,
        "resume": str | None,
        "early_stopping": Count | None,
        "deterministic": bool | Literal["warn"],
        "progress_bar": bool,
    }
