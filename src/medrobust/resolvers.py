"""OmegaConf resolvers of the configs; cheap to import."""

import hashlib
import json
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from medrobust.model.core.taps import layers
from medrobust.number import fraction


def _suffix(wanted: bool, text: str) -> str:
    return text if wanted else ""


def _group() -> str | None:
    """Return the name of the sweep's folder, None outside a sweep."""
    job = HydraConfig.get()
    return Path(job.sweep.dir).name if job.mode == RunMode.MULTIRUN else None


def _folder() -> str:
    """Return the sweep's folder, or the job's own outside a sweep."""
    job = HydraConfig.get()
    sweep = job.mode == RunMode.MULTIRUN
    return str(Path(job.sweep.dir if sweep else job.runtime.output_dir).resolve())


def _label(*groups: str) -> str | None:
    """Return the job's choices of some groups, None if it has none of them."""
    choices = HydraConfig.get().runtime.choices
    return " · ".join(str(choices[group]) for group in groups if group in choices) or None


def _recipe(defense: str | None) -> str:
    """Return the recipe named after a defense, also for its variants, else `default`."""
    known = GlobalHydra.instance().config_loader().get_group_options("recipe")
    name = "" if defense is None else defense.split("/")[0]
    return name if name in known else "default"


def _short(*nodes: Any) -> str:
    """Return eight hex digits that identify parts of a config."""
    plain = [
        OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for node in nodes
    ]
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _rms(value: float | str, data: DictConfig | None) -> float:
    """Return the L2 norm of an image with this root mean square (3 x 224 x 224 for null data)."""
    size, channels = (224, 3) if data is None else (int(data.size), data.channels)
    if data is not None and channels is None:
        channels = getattr(get_class(data._target_), "native_channels", 3)
    return fraction(value, "root mean square") * (int(channels or 3) * size**2) ** 0.5


def register() -> None:
    """Register the resolvers; safe to call twice.

    `${medrobust.suffix:<bool>,<text>}`: the text if the condition holds, else nothing.
    `${medrobust.group:}`: name of the sweep that a job belongs to, else null.
    `${medrobust.folder:}`: folder of the sweep that a job belongs to, else the job's own.
    `${medrobust.label:attack,threat}`: the job's choices of these groups, else null.
    `${medrobust.recipe:${defense}}`: training recipe of that name, else `default`.
    `${medrobust.short:${.taps},${.cushion}}`: short digest of these parts, for file names.
    `${medrobust.taps:${model.name}}`: layers that a detector reads.
    `${medrobust.rms:8/256,${data}}`: L2 norm of a perturbation with this root mean square.
    """
    OmegaConf.register_new_resolver("medrobust.rms", _rms, replace=True)
    OmegaConf.register_new_resolver("medrobust.suffix", _suffix, replace=True)
    OmegaConf.register_new_resolver("medrobust.group", _group, replace=True)
    OmegaConf.register_new_resolver("medrobust.folder", _folder, replace=True)
    OmegaConf.register_new_resolver("medrobust.label", _label, replace=True)
    OmegaConf.register_new_resolver("medrobust.recipe", _recipe, replace=True)
    OmegaConf.register_new_resolver("medrobust.short", _short, replace=True)
    OmegaConf.register_new_resolver("medrobust.taps", layers, replace=True)
