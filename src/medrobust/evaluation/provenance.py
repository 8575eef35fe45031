"""Where a number comes from: versions and revision of the code that made it."""

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("torch", "torchvision", "timm", "torchmetrics", "pytorch-lightning", "numpy", "scipy")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that can change a number."""
    found = {name: version(name) for name in ("medrobust", *_LIBRARIES)}
    return {"python": platform.python_version(), **found}


@lru_cache(maxsize=1)
def revision() -> str:
    """Git revision of this package's checkout, `-dirty` when changed; `unknown` without git."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("-dirty" if changed else "")


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
