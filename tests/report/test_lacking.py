"""Rows that lack something: an axis, a setting, a metric, an interval, a time, a confusion."""

import io
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from medrobust.report.figure.core.base import FigureError, Source
from medrobust.report.figure.core.kinds import parse
from medrobust.report.page.cell import views
from medrobust.report.page.curve import charts
from medrobust.report.page.render import render
from medrobust.report.render import heatmap, latex, markdown, tidy
from medrobust.report.render.terminal import show
from medrobust.report.render.text import legend, parts
from medrobust.report.sweep import Sweep
from medrobust.report.table.block import blocks
from medrobust.report.table.config import TableConfig
from medrobust.report.table.measure import measure
from medrobust.report.table.pivot import build
from medrobust.report.table.table import Table
from medrobust.result.flag import flag
from medrobust.result.row import CELL, Row
from tests.report.conftest import make_row
from tests.report.page_reader import read
from tests.support.kinds import slow_unless

AXES = (*CELL, "attack.eps", "defense.window", "seed")
FIGURES = parse(
    [
        {"kind": "confusion"},
        {"kind": "curve", "x": "attack.eps"},
        {"kind": "curve", "x": "defense.window", "line": "attack.eps"},
    ]
)


def page(found: Sequence[Row], config: TableConfig) -> str:
    sweep = Sweep(Path("sweep"), tuple(found), config, (), "", len(found), 0, {})
    return render(sweep, build(found, config))


def everything(found: Sequence[Row], config: TableConfig) -> Table:
    """All that is made of rows, but for pixels."""
    table = build(found, config)
    show(table, Console(file=io.StringIO(), width=200))
    for module in (tidy, markdown, latex):
        assert module.render(table)
    assert heatmap.render(table)
    assert page(found, config)
    assert len(tidy.frame(table)) == len(tidy.records(table))
    source = Source(tuple(row for row in found if row.status == "done"), {})
    for figure in FIGURES:
        with suppress(FigureError):  # of some there is nothing to draw, and that is said
            assert figure.draw(source)
    return table


def lacking(draw: random.Random) -> list[Row]:
    """A sweep's rows, each without some of what others have."""
    made: list[Row] = []
    for number in range(draw.randint(1, 12)):
        threat = draw.choice(["oblivious", "adaptive", "transfer", "blackbox"])
        row = make_row(
            None if draw.random() < 0.2 else draw.random(),
            attack=draw.choice(["none", "bim", "pgd"]),
            defense=draw.choice(["none", "median"]),
            threat=threat,
            surrogate="vgg16" if threat == "transfer" else "",
            settings=draw.choice([{}, {"eps": 2 / 255}, {"eps": 8 / 255, "norm": "linf"}]),
            filters=draw.choice([{}, {"window": 3}, {"window": 5}]),
            seconds=draw.choice([{}, {"per_image": 0.1}, {"victim_per_image": 0.1}]),
            flags=draw.choice([[], [flag("text", text="a flag")]]),
            config={"number": number},
        )
        if row.status == "done":
            matrix = draw.choice([None, [[3, 1], [2, 4]]])
            row = replace(
                row,
                confusion=matrix,
                clean_confusion=draw.choice([None, matrix]),
                classes=["a", "b"] if matrix and draw.random() < 0.7 else [],
                metrics=draw.choice([row.metrics, row.metrics | {"auroc": 0.7}, {"auroc": 0.6}]),
                intervals=draw.choice([row.intervals, {}]),
            )
        gone = draw.choice([(), ("surrogate",), ("objective", "surrogate"), ("threat",)])
        cell = {axis: name for axis, name in row.cell.items() if axis not in gone}
        made.append(replace(row, id=f"row{number}", cell=cell))
    return made


@pytest.mark.by_default("3")
@pytest.mark.parametrize("seed", [slow_unless(seed < 4, seed) for seed in range(12)])
def test_any_layout_of_rows_that_lack_anything(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure as Canvas

    def drawn(self: Canvas, file: Any, **how: Any) -> None:
        file.write(b"drawn")

    monkeypatch.setattr(Canvas, "savefig", drawn)
    draw = random.Random(seed)
    for _ in range(4):
        found = lacking(draw)
        axes = draw.sample(AXES, draw.randint(2, 5))
        cut = draw.randint(1, len(axes) - 1)
        known = {name for row in found for name in row.metrics} | {"seconds_per_image"}
        several = draw.random() < 0.4
        node: dict[str, Any] = {
            "rows": axes[:cut],
            "columns": axes[cut:],
            "metric": draw.choice(sorted(known)),
            "metrics": sorted(known) if several else None,
            "extra": draw.choice([None, ["seconds_per_image"], ["detector_overhead"]]),
            "percent": draw.random() < 0.5,
        }
        if not several and draw.random() < 0.3:
            node["mean"] = {"over": ["pgd", "bim"]}
        table = everything(found, TableConfig.parse(node))
        assert sum(map(len, table.cells)) >= len({id(c) for line in table.cells for c in line})


def test_a_block_without_the_surrogate_of_another_says_so() -> None:
    found = [
        make_row(0.5, threat="transfer", surrogate="vgg16", defense="median"),
        make_row(0.4, threat="adaptive", defense="median"),
        make_row(0.3, threat="adaptive", defense="none"),
    ]
    config = TableConfig(rows=("threat", "defense"))
    first, second = blocks(build(found, config))
    assert "surrogate VGG-16" in first.heading
    assert "surrogate" not in second.heading
    text = read(page(found, config))
    (listing,) = (one for one in text.find("table") if "list" in one.attributes["class"])
    lines = [[cell.text for cell in line.find("td")] for line in listing.find("tr")[1:]]
    heads = [head.text.strip() for head in listing.find("th")]
    at = heads.index("surrogate")
    assert [line[at] for line in lines] == ["VGG-16", "–", "–"]
    assert {line[heads.index("threat")] for line in lines} == {"transfer", "adaptive"}


def test_clean_images_without_a_measure_are_not_cells_that_were_not_run() -> None:
    found = [make_row(0.9, attack="none"), make_row(0.5, attack="pgd")]
    table = build(found, TableConfig(rows=("defense",), extra=("training_queries",)))
    (line,) = table.cells
    assert parts(table, line[-1]).ours == "·"
    assert "not run" not in " ".join(legend(table))
    alone = build(found[1:], TableConfig(rows=("defense",), extra=("training_queries",)))
    assert parts(alone, alone.cells[0][-1]).ours == "—"


def test_a_detectors_overhead_without_its_time() -> None:
    row = make_row(0.5, seconds={"victim_per_image": 0.1})
    assert measure(row, "detector_overhead") is None
    row = make_row(0.5, seconds={"victim_per_image": 0.1, "detector_per_image": 0.3})
    assert measure(row, "detector_overhead") == pytest.approx(3)


def test_no_curve_of_a_metric_that_no_row_has() -> None:
    found = [make_row(0.5, settings={"eps": eps}, seconds={"per_image": 1.0}) for eps in (0.1, 0.2)]
    table = build(found, TableConfig(rows=("attack.eps",), metric="seconds_per_image"))
    cells = [view for line in views(table, {}, {}) for view in line]
    assert charts(cells, table.metric, table.unit) == []
    assert len(charts(cells, "accuracy", "proportion")) == 1
