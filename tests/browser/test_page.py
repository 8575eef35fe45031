"""The page of a sweep in a real browser."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from medrobust.report.page.render import render
from medrobust.report.sweep import Sweep
from medrobust.report.table.config import TableConfig
from medrobust.report.table.pivot import build
from medrobust.result.flag import flag
from medrobust.result.row import Row
from tests.report.conftest import make_row

ATTACKS = ("none", "fgsm", "bim", "pgd", "medrdf/a_rather_long_name_of_an_attack_100")
PRINTED = {"fgsm": "FGSM", "bim": "BIM", "pgd": "PGD", "jpeg": "JPEG"}
DEFENSES = ("none", "median", "jpeg", "medrdf/gaussian_with_a_long_name")
FLAG = flag("weak_surrogate", share=0.1)
CLASSES = [f"class {number} of lesions with a long name" for number in range(7)]
CONFUSION = [[number + place for place in range(7)] for number in range(7)]

Open = Callable[..., Any]


def rows() -> list[Row]:
    made = []
    for i, defense in enumerate(DEFENSES):
        for j, attack in enumerate(ATTACKS):
            number = len(made)
            accuracy = None if number == 7 else ((number * 7) % 19) / 19 * (0.09 if j == 2 else 1)
            row = make_row(
                accuracy,
                attack=attack,
                defense=defense,
                flags=[FLAG] if (i, j) in ((1, 3), (2, 3)) else [],
                confusion=CONFUSION,
                clean_confusion=CONFUSION,
                classes=CLASSES,
                fingerprints={"victim": "ab" * 32, "data": "cd" * 32},
                overrides=["attack=" + attack, "defense=" + defense, "copies=10000"],
            )
            made.append(row)
    for eps in (2, 4):
        settings = {"eps": f"{eps}/255", "norm": "linf"}
        made += [
            make_row(1 / eps, attack="apgd", defense=name, settings=settings) for name in DEFENSES
        ]
    return made[:-1]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made, config = rows(), TableConfig(title="A sweep", rows=("defense",), columns=("attack",))
    sweep = Sweep(
        Path("sweep"), tuple(made), config, ("job 7 failed",), "medrobust evaluate -m", 28, 0, {}
    )
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render(sweep, build(made, config)), encoding="utf-8")
    return file


def printed(choice: str, none: str) -> tuple[str]:
    """A choice as the page names it."""
    return (none if choice == "none" else PRINTED.get(choice, choice),)


def shown(page: Any, column: int) -> list[str]:
    """Texts of a column of the list, top to bottom, those to be seen."""
    script = """return [...document.querySelectorAll('.list tbody tr')].filter(row => !row.hidden)
        .map(row => row.cells[arguments[0]].textContent)"""
    return page.execute_script(script, column)


def head(page: Any, table: str, text: str) -> Any:
    buttons = page.find_elements(By.CSS_SELECTOR, f".{table} thead button")
    return next(button for button in buttons if button.text.startswith(text))


def test_it_renders_without_a_complaint(open_page: Open, path: Path) -> None:
    for scheme in ("light", "dark"):
        page = open_page(path, scheme=scheme)
        assert page.title == "A sweep"
        assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
        for part in ("matrix", "problems", "flags", "curves", "list", "cells", "card", "again"):
            assert page.find_element(By.ID, part).is_displayed(), part
    ground, ink = page.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    )
    assert ground == "rgb(20, 23, 27)"
    assert ink != "rgb(27, 31, 36)"


def test_its_numbers_are_those_of_the_rows(open_page: Open, path: Path) -> None:
    page = open_page(path)
    found = page.execute_script(
        """return [...document.querySelectorAll('.list tbody tr')].map(row =>
        [row.cells[0].textContent, row.cells[1].textContent, row.cells[2].textContent])"""
    )
    wanted = {
        printed(row.cell["defense"], "undefended") + printed(row.cell["attack"], "clean"): row
        for row in rows()
        if row.cell["attack"] != "apgd"
    }
    seen = 0
    for defense, attack, text in found:
        row = wanted.get((defense, attack))
        if row is not None:
            seen += 1
            done = row.status == "done"
            assert text == (f"{100 * row.metrics['accuracy']:.1f}" if done else "✗")
    assert seen == len(wanted)
    assert "—" in [text for _, _, text in found]


def test_a_click_sorts_by_number(open_page: Open, path: Path) -> None:
    page = open_page(path)
    before = shown(page, 2)
    button = head(page, "list", "accuracy")
    for direction, sign in (("ascending", 1), ("descending", -1)):
        button.click()
        header = button.find_element(By.XPATH, "..")
        assert header.get_attribute("aria-sort") == direction
        texts = shown(page, 2)
        numbers = [float(text) for text in texts if text not in "✗—"]
        assert numbers == sorted(numbers, key=lambda value: sign * value)
        assert set(texts[-2:]) == {"✗", "—"}  # what has no number stays last
        assert any(value < 10 for value in numbers)  # "9.0" sorts before "10.0"
        assert any(value >= 10 for value in numbers)
    button.click()
    assert shown(page, 2) == before


def test_the_matrix_sorts_by_keyboard(open_page: Open, path: Path) -> None:
    page = open_page(path)
    button = head(page, "matrix", "PGD")
    page.execute_script("arguments[0].focus()", button)
    page.switch_to.active_element.send_keys(Keys.ENTER)
    script = """return [...document.querySelectorAll('.matrix tbody tr')].map(row =>
        Number(row.cells[arguments[0]].dataset.value))"""
    column = 1 + ATTACKS.index("pgd")
    values = page.execute_script(script, column)
    assert values == sorted(values)
    page.switch_to.active_element.send_keys(Keys.SPACE)
    assert page.execute_script(script, column) == sorted(values, reverse=True)
    style = page.execute_script(
        "const s = getComputedStyle(document.activeElement);return [s.outlineStyle, s.outlineWidth]"
    )
    assert style == ["solid", "3px"]  # the focus is seen


def test_filters(open_page: Open, path: Path) -> None:
    page = open_page(path)
    everything = len(shown(page, 0))
    output = page.find_element(By.CSS_SELECTOR, ".filter output")
    find = page.find_element(By.ID, "find")
    find.send_keys("median PGD")
    assert set(zip(shown(page, 0), shown(page, 1), strict=True)) == {
        ("median", name) for name in set(shown(page, 1)) if "PGD" in name
    }
    assert output.text == f"{len(shown(page, 0))} of {everything} cells"
    lines = page.find_elements(By.CSS_SELECTOR, ".matrix tbody tr")
    assert [line.is_displayed() for line in lines] == [name == "median" for name in DEFENSES]
    page.find_element(By.CSS_SELECTOR, ".filter button").click()
    page.execute_script("return new Promise(resolve => setTimeout(resolve, 20))")
    assert len(shown(page, 0)) == everything
    choice = page.find_element(By.CSS_SELECTOR, "select[data-axis=defense]")
    choice.send_keys("JPEG")
    assert set(shown(page, 0)) == {"JPEG"}
    page.find_element(By.ID, "flagged").click()
    assert list(zip(shown(page, 0), shown(page, 1), strict=True)) == [("JPEG", "PGD")]


def test_a_number_leads_to_its_open_cell(open_page: Open, path: Path) -> None:
    page = open_page(path)
    page.find_element(By.CSS_SELECTOR, ".matrix a[href='#cell-0']").click()
    detail = page.find_element(By.ID, "cell-0")
    assert page.execute_script("return arguments[0].open", detail)
    assert len(detail.find_elements(By.CSS_SELECTOR, ".confusion")) == 2
    assert detail.find_element(By.CSS_SELECTOR, ".confusion td").is_displayed()


@pytest.mark.parametrize("width", [380, 768, 1280])
def test_the_page_never_scrolls_sideways(open_page: Open, path: Path, width: int) -> None:
    page = open_page(path, width=width)
    page.execute_script("document.querySelectorAll('details').forEach(item => item.open = true)")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    regions = page.find_elements(By.CSS_SELECTOR, ".scroll")
    assert all(region.get_attribute("tabindex") == "0" for region in regions)  # by keyboard, too
    small = page.execute_script(
        """return [...document.querySelectorAll('main *')].filter(item => item.offsetParent &&
        parseFloat(getComputedStyle(item).fontSize) < 11.9 && !item.closest('svg')).length"""
    )
    assert small == 0
    heights = page.execute_script(
        """return [...document.querySelectorAll('figure > svg text')].map(item =>
        item.getBoundingClientRect().height)"""
    )
    assert min(heights) > 11


def test_print(open_page: Open, path: Path) -> None:
    page = open_page(path, width=1030, media="print")  # A4 across, within the margins
    for hidden in (".filter", "nav", ".skip"):
        assert not page.find_element(By.CSS_SELECTOR, hidden).is_displayed()
    assert page.find_element(By.CSS_SELECTOR, ".matrix").is_displayed()
    clipped = page.execute_script(
        """return [...document.querySelectorAll('.scroll')].filter(item =>
        item.offsetParent && getComputedStyle(item).overflowX !== 'visible').length"""
    )
    assert clipped == 0
    assert page.execute_script("return document.documentElement.scrollWidth") <= 1030
    printed = page.execute_cdp_cmd(
        "Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True}
    )
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")


def test_without_a_script_everything_is_there(open_page: Open, browser: Any, path: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page = open_page(path)
        assert not page.find_element(By.CSS_SELECTOR, ".filter").is_displayed()
        assert len(page.find_elements(By.CSS_SELECTOR, ".list tbody tr")) == 28
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
