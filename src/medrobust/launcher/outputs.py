"""Hydra callback: the folder of a run can be made, or one sentence says why not."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from medrobust.result.folder import make_folder


class OutputsCallback(Callback):
    """Makes the folder of a run or sweep before Hydra does, whose error would not name the cause.

    Hydra turns exceptions of callbacks into warnings, so that this one leaves by `SystemExit`.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the folder of a single run."""
        _make(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make the folder of a sweep."""
        _make(config.hydra.sweep.dir)


def _make(folder: str) -> None:
    try:
        make_folder(Path(folder))
    except OSError as error:
        print(f"outputs: {error}", file=sys.stderr)
        raise SystemExit(2) from None
