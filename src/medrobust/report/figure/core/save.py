"""Save a figure in the formats of papers and pages."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

PICTURES = ("png", "pdf", "svg")
"""File formats of a figure."""

_DATED = {"png": "Software", "pdf": "CreationDate", "svg": "Date"}
"""Format -> the entry of its metadata that changes without the figure."""


def saved(made: "Canvas", kind: str) -> bytes:
    """Return a figure as a file; the same figure gives the same bytes.

    Files hold no date, and ids inside an SVG are made from its content. Call it inside
    `paper_style`, as fonts are chosen only now.

    Args:
        made: figure.
        kind: one of `PICTURES`.
    """
    file = io.BytesIO()
    with _quiet("fontTools"):
        made.savefig(file, format=kind, metadata={_DATED[kind]: None})
    return file.getvalue()


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a library's reports of its progress out of the log inside this context."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)
