"""Hydra callback that creates the folder of a run, or reports in one sentence why it cannot."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from medrobust.result.folder import make_folder


class OutputsCallback(Callback):
    """Create the folder of a run or sweep before Hydra does, whose error does not name the cause.

    Hydra turns exceptions of callbacks into warnings, so this callback raises `SystemExit`.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Create the folder of a single run."""
        _make(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Create the folder of a sweep."""
        _make(config.hydra.sweep.dir)


def _make(folder: str) -> None:
    try:
        make_folder(Path(folder))
    except OSError as error:
        print(f"outputs: {error}", file=sys.stderr)
        raise SystemExit(2) from None
