"""The pages of the atlas are what its rows say, and nothing else."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from medrobust.report.atlas.__main__ import main
from medrobust.report.atlas.build import pages, stale, write
from medrobust.report.atlas.config import AtlasError
from medrobust.report.bundle.bundle import NAME, BundleError
from medrobust.report.bundle.pack import pack
from medrobust.report.sweep import collect
from tests.report.bundle.conftest import fit

ATLAS = Path(__file__).parents[3] / "atlas"
ABOUT = {
    "title": "A paper, Table 1",
    "images": "4 images.",
    "train": ["data=dermamnist"],
    "evaluate": "data=dermamnist attack=pgd,bim",
    "metrics": ["balanced_accuracy"],
    "chosen": ["*Everything*."],
}
CLAIM = {
    "claim": "PGD is stronger than BIM.",
    "where": "Table 1",
    "verdict": "reproduced",
    "because": "PGD leaves {pgd} and BIM {bim}.",
}


@pytest.fixture
def atlas(published: Callable[..., Path], tmp_path: Path) -> Path:
    """An atlas of one paper with one table."""
    rows = [fit("pgd"), fit("bim")]
    folder = tmp_path / "atlas" / "a_paper"
    pack(collect(published(rows)), folder / "table1")
    (folder / "table1" / "about.yaml").write_text(yaml.safe_dump(ABOUT))
    numbers = {row.cell["attack"]: f"a_paper/table1 {row.id[:8]} accuracy" for row in rows}
    claims = {"title": "A paper", "claims": [{**CLAIM, "numbers": numbers}]}
    (folder / "claims.yaml").write_text(yaml.safe_dump(claims))
    return folder.parent


def test_pages_say_what_the_rows_say(atlas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(atlas)]) == 0
    table = (atlas / "a_paper/table1/README.md").read_text()
    assert "medrobust train data=dermamnist\nmedrobust evaluate -m data=dermamnist" in table
    assert "2 of 2 cells were computed" in table
    assert "The largest class holds 75.0 % of the images" in table
    assert r"- \*Everything\*." in table
    grid = [line for line in table.splitlines() if line.startswith("| undefended")]
    assert grid[0] == "| undefended | 50.0 | 75.0 |"  # accuracy, then balanced accuracy
    assert grid[1] == "| undefended | 25.0 | 37.5 |"
    paper = (atlas / "a_paper/README.md").read_text()
    assert "1 claims: 1 reproduced." in paper
    assert "PGD leaves [50.0 % [48.0, 52.0]](table1/README.md)" in paper
    assert (
        "| [A paper](a_paper/README.md) | 1 | 0 | 0 | 0 | 0 |" in (atlas / "README.md").read_text()
    )
    assert stale(atlas) == []
    capsys.readouterr()
    assert main([str(atlas)]) == 0
    assert capsys.readouterr().out == "every page is as its rows say\n"


def test_one_digit_altered_anywhere_is_found(atlas: Path) -> None:
    write(atlas)
    page = atlas / "a_paper/table1/README.md"
    page.write_text(page.read_text().replace("50.0", "51.0", 1))
    assert stale(atlas) == ["a_paper/table1/README.md"]
    write(atlas)
    row = sorted((atlas / "a_paper/table1/rows").glob("*.json"))[0]
    row.write_text(re.sub(r'"accuracy": 0\.(\d)', '"accuracy": 0.9', row.read_text()))
    with pytest.raises(BundleError, match="was altered"):
        stale(atlas)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verdict": "true"}, "has the verdict 'true', expected one of reproduced"),
        ({"condition": "noise is strong"}, "expected a condition for 'reproduced only if' alone"),
        ({"numbers": {}}, r"prints the numbers \['bim', 'pgd'\] and defines \[\]"),
        ({"because": "So it is.", "numbers": {}}, "0 numbers, expected rows unless"),
        (
            {"numbers": {"pgd": "a_paper/table1 zz accuracy", "bim": "a_paper/table1 zz accuracy"}},
            "fits 0 rows",
        ),
        ({"numbers": {"pgd": "a_paper/table9 0 accuracy", "bim": ""}}, "expected TABLE ROW METRIC"),
        ({"verdict": "not measured yet"}, "2 numbers, expected rows unless"),
        ({"evidence": []}, r"unknown keys \['evidence'\]"),
        ({"claim": 3}, "claim"),
    ],
)
def test_a_claim_without_its_rows_is_refused(
    atlas: Path, change: dict[str, object], message: str
) -> None:
    path = atlas / "a_paper/claims.yaml"
    data = yaml.safe_load(path.read_text())
    data["claims"][0] |= change
    path.write_text(yaml.safe_dump(data))
    before = set(atlas.rglob("*"))
    with pytest.raises(AtlasError, match=message):
        write(atlas)
    assert set(atlas.rglob("*")) == before  # nothing half-written


def test_the_atlas_is_as_its_rows_say(tmp_path: Path) -> None:
    """The pages of this repository; rows of phantoms or of uncommitted code raise."""
    made = pages(ATLAS)
    assert stale(ATLAS, made) == []
    tables = sorted(ATLAS.glob(f"*/*/{NAME}"))
    assert tables
    generated = {*made, *(f"{t.parent.relative_to(ATLAS)}/about.yaml" for t in tables)}
    for path in ATLAS.rglob("*"):
        name = path.relative_to(ATLAS).as_posix()
        if path.is_file() and path.suffix in (".md", ".svg", ".csv"):
            assert name in generated, f"no row makes {name}"
    shutil.copytree(tables[0].parent, copy := tmp_path / "atlas" / "paper" / "table")
    row = sorted((copy / "rows").glob("*.json"))[0]
    row.write_text(re.sub(r'"accuracy": 0\.(\d)', '"accuracy": 0.01', row.read_text()))
    with pytest.raises(BundleError, match="was altered"):
        pages(tmp_path / "atlas")
