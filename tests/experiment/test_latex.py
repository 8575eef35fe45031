"""Tables of experiments as TeX sets them, in one and two columns."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from medrobust.report.render import latex
from medrobust.report.table.pivot import build
from tests.experiment.made_up import gaps, rows
from tests.experiment.paper_cells import composed, experiments, table_config

pytestmark = pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs pdflatex")

LAYOUTS = {
    "one": r"\documentclass[10pt]{article}",
    "two": r"\documentclass[10pt,twocolumn]{article}\usepackage[margin=0.75in]{geometry}",
}
OVER_PT = 2.0
"""Width in points that may stick out of a line: less than a sign."""

BAD = re.compile(r"^!|Missing character|Float too large|multiply.defined|undefined|Too many")


def complaints(texts: Mapping[str, str], layout: str, folder: Path) -> list[str]:
    """Set all texts in one document; return what its log complains of, by name."""
    pages = "".join(f"\\typeout{{TABLE {k}}}\n{text}\\clearpage\n" for k, text in texts.items())
    head = f"{LAYOUTS[layout]}\\usepackage{{booktabs}}\\usepackage{{graphicx}}"
    file = folder / f"{layout}.tex"
    file.write_text(f"{head}\n\\begin{{document}}\n{pages}\\end{{document}}\n", encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", file.name]
    subprocess.run(command, cwd=folder, capture_output=True, timeout=300, check=False)
    name, found = "", []
    for line in file.with_suffix(".log").read_text(errors="replace").splitlines():
        name = line.removeprefix("TABLE ") if line.startswith("TABLE ") else name
        over = re.match(r"Overfull \\hbox \((.*?)pt", line)
        if BAD.search(line) or (over and float(over[1]) > OVER_PT):
            found.append(f"{name}: {line}")
    if not file.with_suffix(".pdf").exists():
        found.append("no output")
    return found


def text_of(name: str, *, holes: bool = False) -> str:
    found = gaps(rows(name)) if holes else rows(name)
    return latex.render(build(found, table_config(composed(f"experiment={name}"))))


SOME = ("demo", "mdda/table3", "smia/table5")
"""A table of one column, one of both columns with the paper's numbers, and one of metrics."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tables_fit(layout: str, tmp_path: Path) -> None:
    texts = {name: text_of(name) for name in SOME} | {"gaps": text_of("demo", holes=True)}
    texts["gaps"] = texts["gaps"].replace(r"\label{", r"\label{gaps:")
    assert complaints(texts, layout, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_experiment_fits(layout: str, tmp_path: Path) -> None:
    assert complaints({name: text_of(name) for name in experiments()}, layout, tmp_path) == []


def test_a_complaint_is_seen(tmp_path: Path) -> None:
    wide = r"\hbox to 0pt{\rule{1cm}{1pt}}"
    assert any("Overfull" in one for one in complaints({"wide": wide}, "one", tmp_path))
    assert complaints({"unknown": r"\nonsense"}, "one", tmp_path)
