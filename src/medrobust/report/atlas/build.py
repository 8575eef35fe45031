"""Build the pages of the atlas from its rows."""

from collections.abc import Mapping
from pathlib import Path

from medrobust.report.atlas.config import ABOUT, CLAIMS, AtlasError, read_about, read_paper
from medrobust.report.atlas.page import table_page, tables_of
from medrobust.report.atlas.verdict import index_page, paper_page
from medrobust.report.bundle.bundle import NAME, Bundle, read
from medrobust.report.bundle.verify import inspect
from medrobust.report.figure.core.draw import FOLDER, draw
from medrobust.report.render import tidy
from medrobust.result.store import write_atomically

PAGE, CSV = "README.md", "table.csv"


def pages(folder: str | Path) -> dict[str, bytes]:
    """Return every generated file of the atlas by its path in it.

    Args:
        folder: the atlas: `<paper>/claims.yaml`, and `<paper>/<table>/` with `about.yaml` and a
            bundle.

    Raises:
        AtlasError: a description is wrong, a bundle is not sound, or a figure cannot be drawn.
        BundleError: a bundle is damaged.
    """
    folder = Path(folder)
    made: dict[str, bytes] = {}
    tables: dict[str, tuple[str, Bundle]] = {}
    for note in sorted(folder.glob(f"*/*/{NAME}")):
        name = note.parent.relative_to(folder).as_posix()
        bundle, about = read(note.parent), read_about(note.parent / ABOUT)
        for problem in inspect(bundle):
            raise AtlasError(f"{name}: {problem}")
        drawn, problems = draw(bundle.sweep)
        for problem in problems:
            raise AtlasError(f"{name}: {problem}")
        tables[name] = (about.title, bundle)
        made[f"{name}/{PAGE}"] = table_page(about, bundle, drawn).encode()
        made[f"{name}/{CSV}"] = tidy.render(tables_of(about, bundle)[0]).encode()
        made |= {f"{name}/{FOLDER}/{one.name}.svg": one.svg for one in drawn}
    claims = sorted(folder.glob(f"*/{CLAIMS}"))
    papers = {path.parent.name: read_paper(path) for path in claims}
    for own, paper in papers.items():
        made[f"{own}/{PAGE}"] = paper_page(paper, tables, own).encode()
    made[PAGE] = index_page(papers, tables).encode()
    return made


def write(folder: str | Path) -> list[Path]:
    """Write the pages, and return the paths of those that changed."""
    changed = []
    for name, content in pages(folder).items():
        path = Path(folder) / name
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content)
            changed.append(path)
    return changed


def stale(folder: str | Path, made: Mapping[str, bytes] | None = None) -> list[str]:
    """Return the generated files that are missing or differ from the rows, by their path.

    Args:
        folder: the atlas.
        made: its pages, if they were built already.
    """
    found = pages(folder) if made is None else made
    return [
        name
        for name, content in found.items()
        if not (path := Path(folder) / name).is_file() or path.read_bytes() != content
    ]
