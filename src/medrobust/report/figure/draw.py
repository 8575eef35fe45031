"""From the `figure` node of a config to files."""

import importlib
import io
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrobust.report import figure as package
from medrobust.report.figure.base import Figure, FigureError, Source, literal_text
from medrobust.report.sweep import Sweep
from medrobust.result.store import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

FOLDER = "figures"
"""Where they lie in a sweep's folder."""

_FRAME = ("base", "draw")


@dataclass(frozen=True)
class Drawn:
    """A figure that was drawn.

    Attributes:
        name: file name without ending.
        caption: what it shows.
        png: the picture.
        pdf: the same as vectors.
    """

    name: str
    caption: str
    png: bytes
    pdf: bytes

    def write(self, folder: Path) -> list[Path]:
        """Write `<name>.png` and `<name>.pdf`, each whole or not at all."""
        paths = []
        for ending, content in (("png", self.png), ("pdf", self.pdf)):
            paths.append(folder / f"{self.name}.{ending}")
            write_atomically(paths[-1], content)
        return paths


@cache
def kinds() -> tuple[str, ...]:
    """Names of the kinds of figures: the modules of this package."""
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in names if name not in _FRAME))


def parse(node: Any) -> tuple[Figure, ...]:
    """Read the `figure` node: null, one figure, or a list of them.

    Args:
        node: plain data; each figure is a mapping with `kind` and that kind's keys.

    Raises:
        FigureError: an unknown kind or key, or a value that the kind refuses.
    """
    if node is None:
        return ()
    nodes = [node] if isinstance(node, Mapping) else node
    if isinstance(nodes, str) or not isinstance(nodes, Sequence):
        raise FigureError(f"figure is {node!r}, expected null, a mapping with `kind`, or a list")
    made: list[Figure] = []
    for number, item in enumerate(nodes):
        where = "figure" if isinstance(node, Mapping) else f"figure[{number}]"
        if not isinstance(item, Mapping) or item.get("kind") not in kinds():
            raise FigureError(f"{where} is {item!r}; its `kind` is one of {', '.join(kinds())}")
        kind = str(item["kind"])
        module = importlib.import_module(f"{package.__name__}.{kind}")
        rest = {str(key): value for key, value in item.items() if key != "kind"}
        figure = module.KIND.parse(rest, where)
        made.append(figure if figure.name else replace(figure, name=kind))
    return tuple(made)


def draw(sweep: Sweep) -> tuple[list[Drawn], list[str]]:
    """Draw a sweep's figures.

    Args:
        sweep: what was collected; only finished rows are drawn.

    Returns:
        What was drawn, and one line per figure that its rows could not fill.
    """
    rows = tuple(row for row in sweep.rows if row.status == "done")
    source = Source(rows, sweep.pictures)
    drawn: dict[str, Drawn] = {}
    problems = []
    for figure in sweep.figures:
        try:
            with literal_text():
                drawings = [(one, *_saved(one.canvas)) for one in figure.draw(source)]
        except FigureError as error:
            problems.append(f"figure {figure.name}: {error}")
            continue
        for drawing, png, pdf in drawings:
            # Rows and configs of others name no folder.
            first = name = re.sub(r"[^\w.-]", "_", drawing.name).lstrip(".") or "figure"
            number = 2
            while name in drawn:
                name, number = f"{first}_{number}", number + 1
            drawn[name] = Drawn(name, drawing.caption, png, pdf)
    return list(drawn.values()), problems


def _saved(made: "Canvas") -> tuple[bytes, bytes]:
    """PNG and PDF; the same figure gives the same bytes."""
    files = []
    for ending, key in (("png", "Software"), ("pdf", "CreationDate")):
        file = io.BytesIO()
        made.savefig(file, format=ending, metadata={key: None})
        files.append(file.getvalue())
    return files[0], files[1]
