"""Commands that messages, rows and pages print, to be run as they stand."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

_OF_EVALUATION = ("data.limit_test", "data.workers", "data.batch_size")
_PATHS = ("paths.root=", "paths.data=", "paths.checkpoints=")


def command(program: str, words: Iterable[str]) -> str:
    """Return a command of this package, with the folders of configs that this process uses.

    Args:
        program: `train` or `evaluate`.
        words: its overrides.
    """
    return shlex.join(["medrobust", program, *config_flags(), *words])


def config_flags() -> list[str]:
    """Return the words of the running Hydra app that add folders of configs; none outside one."""
    if not HydraConfig.initialized():
        return []
    hydra = HydraConfig.get()
    own = [
        f"--config-dir={source.path}"
        for source in hydra.runtime.config_sources
        if source.provider == "command-line"
    ]
    return own + [word for word in hydra.overrides.hydra if word.startswith("hydra.searchpath=")]


def this_command(app: str) -> str:
    """Return the command that started this process.

    Args:
        app: name of the Hydra app, `hydra.job.name`; one of ours or another.
    """
    ours = Path(sys.argv[0]).stem in ("medrobust", "__main__", app) and app in ("train", "evaluate")
    start = ["medrobust", app] if ours else ["python", sys.argv[0]]
    return shlex.join([*start, *sys.argv[1:]])


def repeated(overrides: Iterable[str], groups: Sequence[str]) -> list[str]:
    """Return the overrides inside some groups that a training repeats.

    Args:
        overrides: of an evaluation.
        groups: config groups.
    """
    inside = tuple(f"{group}{mark}" for group in groups for mark in "./")
    return [
        word
        for word in overrides
        if word.lstrip("+~").startswith(inside) and not word.startswith(_OF_EVALUATION)
    ]


def paths(overrides: Iterable[str]) -> list[str]:
    """Return the overrides of paths that a training repeats."""
    return [word for word in overrides if word.startswith(_PATHS)]


def data_words(name: str, *, phantom: bool) -> tuple[list[str], list[str]]:
    """Return the words that choose this process's data, and those of its paths.

    Args:
        name: of the dataset.
        phantom: a generated stand-in.
    """
    plain = [f"data={name}", *(["data.phantom=true"] if phantom else [])]
    if not HydraConfig.initialized():
        return plain, []
    hydra = HydraConfig.get()
    task = list(hydra.overrides.task)
    chosen = str(hydra.runtime.choices.get("data", name))
    # Of a notebook or a test that has run an app before, the choice may be that of other data.
    if not chosen.startswith(name) and f"data.name={name}" not in task:
        return plain, []
    return [f"data={chosen}", *repeated(task, ["data"])], paths(task)
