"""Links of the pages resolve, files that they name exist, and every choice is named."""

import re
from pathlib import Path

import pytest

from tests.docs.imports_picture import PICTURE, draw
from tests.docs.pages import CONF, PAGES, ROOT

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
REPOSITORY = re.compile(r"(?:tests|src|conf|benchmarks|docs)/[\w/]+(?:\.\w+)?(?:::\w+)?")
GROUPS = (
    *("attack", "data", "defense", "experiment", "logger", "model", "objective", "threat"),
    *("trainer", "hydra/launcher"),
)
PARTS = (
    *("attack/criterion", "attack/loss", "attack/target"),
    *("defense/cushion", "defense/denoiser", "defense/estimator", "defense/noise"),
)
"""Groups inside a group, whose options are named by their own."""
TABLES = {"attacks.md": "attack", "defenses.md": "defense", "threats.md": "threat"}


def anchors(text: str) -> set[str]:
    """Anchors of a page's headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in HEADING.findall(text)
    }


def options(group: str) -> set[str]:
    """Options of a config group, without those of the groups inside it."""
    inside = {part.removeprefix(f"{group}/") for part in PARTS if part.startswith(f"{group}/")}
    names = (path.relative_to(CONF / group) for path in (CONF / group).rglob("*.yaml"))
    return {name.with_suffix("").as_posix() for name in names if name.parts[0] not in inside} - {
        "base"
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_resolve(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if re.match(r"\w+:", target):
            continue
        path = page if not target else page.parent / target
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_of_the_repository_exist(page: Path) -> None:
    for span in SPAN.findall(page.read_text(encoding="utf-8")):
        if REPOSITORY.fullmatch(span) and "our_cluster" not in span:
            path, _, test = span.partition("::")
            found = ROOT / path
            assert found.exists(), span
            assert not test or f"def {test}(" in found.read_text(encoding="utf-8"), span


def test_tests_that_the_faults_name_exist() -> None:
    text = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    for name, test in re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", text):
        found = (ROOT / "tests" / "faults" / name).read_text(encoding="utf-8")
        assert not test or f"def {test}(" in found, (name, test)


@pytest.mark.parametrize("group", [*GROUPS, *PARTS])
def test_every_choice_is_named_on_some_page(group: str) -> None:
    named = set()
    for page in PAGES:
        for span in SPAN.findall(page.read_text(encoding="utf-8")):
            named |= set(re.split(r"[\s,=]+", span))
    missing = options(group) - named
    assert not missing, f"name these options of {group} on a page of docs/"


@pytest.mark.parametrize(("page", "group"), TABLES.items())
def test_tables_name_options_that_exist(page: str, group: str) -> None:
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    inside, checked = "", 0
    for line in lines:
        if not line.startswith("|"):
            inside = ""
        elif heading := re.match(r"\| `([\w/]+)=` \|", line):
            inside = heading[1]
        elif inside and not line.startswith("|-"):
            for name in SPAN.findall(line.split("|")[1]):
                assert (CONF / inside / f"{name}.yaml").exists(), f"{inside}={name}"
                checked += inside == group
    assert checked > 3


def test_the_picture_shows_todays_imports() -> None:
    assert PICTURE.read_text(encoding="utf-8") == draw(), "run python -m tests.docs.imports_picture"
