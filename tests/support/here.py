"""Our commands in the test's own process: imports are most of what a new process costs."""

import runpy
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

ROOT = Path(__file__).parents[2]


def run_here(monkeypatch: pytest.MonkeyPatch, script: str, *words: str) -> int:
    """Exit status of `python SCRIPT WORDS…`, as if from the shell.

    Args:
        monkeypatch: puts `sys.argv` back.
        script: file name at the root of the checkout.
        words: flags and overrides.
    """
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", [str(ROOT / script), *words])
    try:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0
