"""Errors of datasets on disk, with what fixes them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """The source, licence and layout of a dataset.

    Attributes:
        source: paper or project and its page.
        licence: licence as its publisher states it.
        download: command that fetches it.
        layout: files that the loader reads, relative to `data.root`.
    """

    source: str
    licence: str
    download: str
    layout: str


class DataError(ValueError):
    """Raised when a dataset exists but does not match its layout."""


class MissingDataError(FileNotFoundError):
    """Raised when a dataset, or a part of it, is absent.

    Args:
        name: name of the dataset.
        path: missing file or folder.
        origin: source of the dataset.
    """

    def __init__(self, name: str, path: Path, origin: Origin) -> None:
        super().__init__(
            f"{name}: {path} does not exist.\n"
            f"  Layout:   {origin.layout}\n"
            f"  Source:   {origin.source}\n"
            f"  Licence:  {origin.licence}\n"
            f"  Download: {origin.download}\n"
            f"  Have it elsewhere? Set data.root=/my/folder/{name}, "
            f"or paths.data=/my/folder for all sets (each in a folder of its own name).\n"
            f"  No data at hand? data.phantom=true draws a procedural phantom."
        )
        self.path = path
