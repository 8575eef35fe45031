"""Finding another library, or saying how to get it."""

from importlib import import_module
from types import ModuleType


class MissingLibraryError(RuntimeError):
    """A library that an attack is taken from is not installed."""


def library(name: str, install: str) -> ModuleType:
    """The module of a library.

    Args:
        name: top-level module.
        install: the command that installs it, for the error.

    Raises:
        MissingLibraryError: it is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:  # it is there, and something that it needs is not
            raise
        raise MissingLibraryError(f"{name} is not installed; get it with: {install}") from error
