"""The page of a sweep, read back without a browser."""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from medrobust.cli.report import main
from medrobust.metric.definition import unit_of
from medrobust.report.page.render import render
from medrobust.report.render import latex, markdown
from medrobust.report.sweep import Sweep
from medrobust.report.table.config import TableConfig
from medrobust.report.table.pivot import build
from medrobust.report.write import TABLES
from medrobust.result.flag import flag
from medrobust.result.row import Row
from tests.report.conftest import make_row
from tests.report.page_reader import Element, read

REFERENCE = {
    "paper": "medrdf",
    "table": "table3",
    "attacks": {"bim": {"attack": "bim", "steps": 7}, "pgd": {"attack": "pgd", "steps": 20}},
    "defenses": {"median": {"defense": "median_filter"}},
}
TABLE = {"title": "T <1>", "rows": ["defense"], "columns": ["attack"], "reference": REFERENCE}


def page_of(
    rows: Sequence[Row],
    table: dict[str, Any] | None = None,
    pictures: dict[str, Path] | None = None,
) -> str:
    config = TableConfig.parse(TABLE if table is None else table)
    sweep = Sweep(
        folder=Path("sweep"),
        rows=tuple(rows),
        config=config,
        problems=("job 3 <b>failed</b>",),
        command="medrobust evaluate -m 'attack=none,bim'",
        jobs=len(rows),
        skipped=0,
        pictures=pictures or {},
    )
    return render(sweep, build(rows, config))


def matrix(**more: Any) -> list[Row]:
    """3 × 3 with one failed and one missing cell."""
    rows = [
        make_row(
            None if (i, j) == (1, 1) else 0.1 + (3 * i + j) / 13,
            attack=attack,
            defense=defense,
            flags=[flag("zero_gradient", share=0.12)] if j == 2 else [],
            **more,
        )
        for i, defense in enumerate(("none", "median", "jpeg"))
        for j, attack in enumerate(("none", "bim", "pgd"))
    ]
    return rows[:-1]


def cells(page: Element, table: str) -> dict[int, Element]:
    """Cells of the matrix, or lines of the list, by number."""
    (found,) = [item for item in page.find("table") if table in item.attributes.get("class", "")]
    return {
        int(item.attributes["data-cell"]): item
        for item in found.inside
        if "data-cell" in item.attributes
    }


def test_every_number_is_that_of_its_row() -> None:
    rows = matrix()
    page = read(page_of(rows))
    shown, listed = cells(page, "matrix"), cells(page, "list")
    assert len(shown) == len(listed) == 9
    papers = 0
    for place, row in enumerate(rows):
        if row.status == "failed":
            assert shown[place].text.strip() == "✗"
            continue
        assert float(shown[place].attributes["data-value"]) == row.metrics["accuracy"]
        for name, value in row.metrics.items():
            (found,) = listed[place].find("td", data_metric=name)
            assert float(found.attributes["data-value"]) == value
            percent = 100 if unit_of(name) == "proportion" else 1
            assert float(found.text) == pytest.approx(percent * value, abs=0.0501)
        low, high = (f"{100 * end:.1f}" for end in row.intervals["accuracy"])
        assert f"{low} to {high}" in shown[place].text
        assert f"{low} to {high}" in listed[place].text
        printed = shown[place].find("span", class_="paper")
        papers += len(printed)
        if row.cell["attack"] == "none" and row.cell["defense"] == "none":
            assert printed[0].text == "74.1"
            difference = 100 * row.metrics["accuracy"] - 74.1
            assert f"Δ {difference:+.1f}".replace("-", "−") in shown[place].text
            assert "*" in shown[place].text
    assert papers >= 2
    assert shown[8].text == "—"
    assert "data-value" not in shown[8].attributes


def test_the_mark_says_whether_the_paper_lies_in_our_interval() -> None:
    inside = make_row(0.74, attack="none", defense="none")
    outside = make_row(0.5, attack="none", defense="median")
    page = read(page_of([inside, outside]))
    shown = cells(page, "matrix")
    assert "✓" in shown[0].text
    assert "*" not in shown[0].text
    assert "*" in shown[1].text
    assert "✓" not in shown[1].text


def test_text_of_rows_is_never_markup() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}\" onload='x'"
    rows = [
        make_row(
            accuracy,
            attack=f"a{evil}{number}",
            defense=f"d{evil}",
            flags=[flag("text", text=evil)],
            classes=[evil, "b"],
            confusion=[[1, 2], [3, 4]],
            clean_confusion=[[1, 2], [3, 4]],
            settings={evil: evil, "eps": f"{number + 1}/255"},
            versions={evil: evil},
            revision=evil,
            fingerprints={"victim": evil, "data": evil},
            checks={evil: 0.5},
            overrides=[evil],
            error=None if accuracy else f"Traceback\nRuntimeError: {evil}",
        )
        for number, accuracy in enumerate((0.5, 0.4, None))
    ]
    html = page_of(rows, {"title": evil, "rows": ["defense"], "columns": ["attack"]})
    page = read(html)
    plain = read(page_of(matrix()))
    assert len(page.find("script")) == len(plain.find("script")) == 2
    assert not page.find("img")
    for item in page.inside:
        assert not [key for key in item.attributes if key.startswith("on")]
    (data,) = page.find("script", id="data")
    assert all(evil in record["text"] for record in json.loads(data.text))
    assert page.find("h1")[0].text == evil
    assert "49" not in page.find("h1")[0].text


def test_nothing_is_asked_of_a_network_and_no_foreign_script_would_run() -> None:
    page = read(page_of(matrix()))
    for item in page.inside:
        for name in ("src", "href"):
            target = item.attributes.get(name, "#")
            assert target.startswith(("#", "data:")), target
    (style,) = page.find("style")
    assert "url(" not in style.text
    assert "@import" not in style.text
    (policy,) = page.find("meta", http_equiv="Content-Security-Policy")
    script = page.find("script")[1].text
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in policy.attributes["content"]
    assert f"script-src 'sha256-{digest}';" in policy.attributes["content"]
    links = [item.attributes["href"] for item in page.find("a")]
    anchors = {item.attributes.get("id") for item in page.inside}
    assert {link.removeprefix("#") for link in links} <= anchors
    named = [item.attributes["id"] for item in page.inside if "id" in item.attributes]
    assert len(named) == len(set(named))


def test_phantoms_have_a_banner_and_no_paper() -> None:
    text = read(page_of(matrix(phantom=True))).find("body")[0].text
    assert "PHANTOM DATA" in text
    assert "74.1" not in text
    assert "medrdf" not in text
    assert "PHANTOM" not in read(page_of(matrix())).find("body")[0].text


def test_failures_are_told() -> None:
    page = read(page_of(matrix()))
    assert page.find("ul", class_="problems")[0].text.strip() == "✗ job 3 <b>failed</b>"
    (failed,) = [item for item in page.find("details") if "✗ failed" in item.text]
    assert "RuntimeError: CUDA out of memory" in failed.text
    assert "Traceback" in failed.find("pre")[0].text


def test_confusions_before_and_after() -> None:
    before, after = [[5, 1], [0, 6]], [[2, 4], [5, 1]]
    row = make_row(0.25, classes=["nevus"], confusion=after, clean_confusion=before)
    page = read(page_of([row], {}))
    first, second = page.find("table", class_="confusion")
    assert "clean" in first.find("caption")[0].text
    for found, wanted in ((first, before), (second, after)):
        counts = [int(field.text) for field in found.find("td")]
        assert counts == [count for line in wanted for count in line]
        assert [head.text for head in found.find("th", scope="row")] == ["1 nevus", "2 class 1"]
    old = replace(row, clean_confusion=None)  # of the first format
    assert len(read(page_of([old], {})).find("table", class_="confusion")) == 1
    segmented = replace(row, clean_confusion=None, confusion=None)
    assert not read(page_of([segmented], {})).find("table", class_="confusion")


def test_strips_are_embedded(tmp_path: Path) -> None:
    rows, file, info = matrix(), io.BytesIO(), PngInfo()
    info.add_itxt("Description", "id <0>\nid <2>")  # as `evaluation.strip.sheet` writes it
    Image.new("RGB", (16, 8)).save(file, format="PNG", pnginfo=info)
    data = file.getvalue()
    good, damaged = tmp_path / "good.png", tmp_path / "damaged.png"
    good.write_bytes(data)
    damaged.write_bytes(data[:-20])
    absent = tmp_path / "absent.png"
    pictures = {rows[0].id: good, rows[1].id: damaged, rows[2].id: absent}
    (image,) = read(page_of(rows, pictures=pictures)).find("img")
    kind, _, content = image.attributes["src"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == data
    assert "id <0>, id <2>" in image.attributes["alt"]


def test_the_card_says_what_was_run() -> None:
    more = {
        "fingerprints": {"victim": "ab" * 32, "data": "cd" * 32},
        "versions": {"torch": "2.15.0"},
        "overrides": ["attack=bim", "defense=a b"],
    }
    page = read(page_of(matrix(**more)))
    card = next(item for item in page.find("section") if item.attributes["id"] == "card").text
    for text in ("abababababab", "cdcdcdcdcdcd", "2.15.0", "real images", "2005", "0123abc"):
        assert text in card
    again = next(item for item in page.find("section") if item.attributes["id"] == "again").text
    assert "medrobust evaluate -m 'attack=none,bim'" in again
    assert "medrobust report sweep" in again
    assert "medrobust evaluate attack=bim 'defense=a b'" in page.find("details")[0].text


def test_queries_and_other_metrics_are_columns() -> None:
    row = make_row(0.5)
    row.metrics["queries_mean"] = 312.25
    page = read(page_of([row], {}))
    (found,) = page.find("td", data_metric="queries_mean")
    assert found.text == "312.25"  # a count, no percentage


@pytest.mark.parametrize(
    ("metric", "texts"),
    [
        ("robust_metric", ["5.61", "5.50 to 5.70"]),
        ("copies", ["50.00", "48.00 to 52.00"]),
        ("queries_max", ["312", ""]),
        ("seconds_per_image", ["1.25", ""]),
        ("accuracy", ["50.0", "48.0 to 52.0"]),
    ],
)
def test_only_proportions_are_in_percent(metric: str, texts: list[str]) -> None:
    """Whether they are the table's metric or one of many."""
    rows = [make_row(0.5, attack=attack, seconds={"per_image": 1.25}) for attack in ("bim", "pgd")]
    for row in rows:
        row.metrics.update({"robust_metric": 5.611, "copies": 50.0, "queries_max": 312.0})
        row.intervals.update({"robust_metric": [5.5, 5.7], "copies": [48.0, 52.0]})
    several = {"metrics": ["accuracy", metric]} if metric != "accuracy" else {}
    percent = metric == "accuracy"
    for node in ({"metric": metric}, several):
        table = build(rows, TableConfig.parse(node))
        for shown in (markdown.render(table), latex.render(table)):
            assert texts[0] in shown
            assert (", %" in shown or r", \%" in shown) == (percent or node is several)
        page = read(page_of(rows, node))
        places = {item.text.strip() for item in page.find("span", class_="ours")}
        assert texts[0] in places
        (title,) = [item for item in page.find("h2") if "matrix-title" in str(item.attributes)]
        assert ("%" in title.text) == (percent or node is several)
        inside = [item.text for item in page.find("small", class_="interval")]
        assert texts[1] in inside
        if metric in rows[0].metrics:
            assert texts[0] in {item.text for item in page.find("td", data_metric=metric)}


def test_the_same_rows_give_the_same_bytes() -> None:
    assert page_of(matrix()) == page_of(matrix())


def test_the_command_writes_it(
    sweep_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sweep_folder([make_row(0.5), make_row(0.3, attack="bim")], {"rows": ["defense"]})
    assert main([str(folder), "--format", "html"]) == 0
    assert [path.name for path in folder.glob("*.*") if path.is_file()].count("report.html") == 1
    assert not list(folder.glob("table.*"))
    assert "wrote" in capsys.readouterr().out
    assert main([str(folder), "--out", str(tmp_path / "all")]) == 0
    names = {path.name for path in (tmp_path / "all").iterdir()}
    assert names == {*(f"table.{kind}" for kind in TABLES), "report.html"}
    assert (tmp_path / "all/report.html").read_bytes() == (folder / "report.html").read_bytes()


def test_text_stands_out_on_every_colour() -> None:
    from matplotlib.colors import to_rgb

    from medrobust.report.render.colour import heat

    def luminance(colour: str) -> float:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    lights = []
    for step in range(101):
        ground, ink = heat(step / 100)
        lights.append(luminance(ground))
        light, dark = sorted((luminance(ground), luminance(ink)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5
    assert lights == sorted(lights)  # told apart in grey, too
