"""Provenance of a number: versions, revision and changes of the code that made it."""

import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("torch", "torchvision", "timm", "torchmetrics", "pytorch-lightning", "numpy", "scipy")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the libraries that can change a number."""
    found = {name: version(name) for name in ("medrobust", *_LIBRARIES)}
    return {"python": platform.python_version(), **found}


@lru_cache(maxsize=1)
def revision() -> str:
    """Return the git revision of this package's checkout, `-dirty` when a tracked file changed.

    `unknown` without git, and for a package that is installed inside another project's checkout.
    """
    folder = _folder()
    try:
        _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        tracked = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("-dirty" if tracked else "")


@lru_cache(maxsize=1)
def changed() -> tuple[str, ...]:
    """Return the package's files that differ from the revision or are not in it, new ones too."""
    if revision() == "unknown":
        return ()
    lines = _git(_folder(), "status", "--porcelain", "--untracked-files=all", "-z", ".")
    names = [line[3:] for line in lines.split("\0") if len(line) > 3]
    return tuple(sorted(name for name in names if name.endswith(".py")))


def _folder() -> Path:
    return Path(__file__).parents[2]


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.rstrip("\n")
