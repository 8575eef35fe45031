"""What can be wrong with a dataset on disk, said so that it can be mended."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Origin:
    """Where a dataset comes from.

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
    """A dataset is there, but something in it is not as its layout says."""


class MissingDataError(FileNotFoundError):
    """A dataset, or a part of it, is not there.

    Args:
        name: dataset.
        path: file or folder that was looked for.
        origin: where the dataset can be had.
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
            f"  Only trying things out? data.phantom=true draws a procedural stand-in."
        )
        self.path = path
