"""Render the page of a sweep."""

import base64
import hashlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from medrobust.report.page.card import card
from medrobust.report.page.cell import CellView, metrics, views
from medrobust.report.page.curve import charts
from medrobust.report.page.member import members
from medrobust.report.render.colour import heat
from medrobust.report.render.text import number, worst_lines
from medrobust.report.sweep import Sweep
from medrobust.report.table.block import blocks
from medrobust.report.table.label import readable
from medrobust.report.table.table import Table

if TYPE_CHECKING:
    from markupsafe import Markup

    from medrobust.report.figure.core.draw import Drawn


def render(sweep: Sweep, table: Table, drawn: "Sequence[Drawn]" = ()) -> str:
    """Return the HTML page of a sweep: one file that needs no network.

    All text of rows is escaped. If an escape failed, the page's security policy would still allow
    no script but its own. The same rows give the same text.

    Args:
        sweep: the collected sweep.
        table: table of its rows.
        drawn: figures of the sweep.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("medrobust.report.page", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["breakable"] = _breakable
    cells: list[CellView] = []
    parts = []
    decided = members(sweep)
    for block in blocks(table):
        parts.append((block, views(block, sweep.pictures, decided, cells)))
        cells += [view for line in parts[-1][1] for view in line]
    curves = charts(cells, table.metric, table.unit)
    axes = _axes(cells, table)
    script = _asset("page.js")
    percent = table.in_percent(table.unit)
    return environment.get_template("page.html").render(
        table=table,
        sweep=sweep,
        blocks=parts,
        cells=cells,
        counts=Counter(view.cell.status for view in cells if not view.cell.derived),
        metrics=metrics(cells, table.metric),
        axes=axes,
        charts=curves,
        figures=[(one, base64.b64encode(one.png).decode()) for one in drawn],
        facts=card(sweep.rows),
        worst=worst_lines(table),
        flagged=table.flags,
        scale=[(step / 5, *heat(step / 5)) for step in range(6)] if percent else [],
        number=lambda value: number(table, value, unit=table.unit),
        readable=readable,
        folder=shlex.quote(str(sweep.folder)),
        unit=" %" if percent else "",
        style=_asset("page.css"),
        script=script,
        policy=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        data=_json([_record(view, axes) for view in cells]),
    )


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _breakable(text: str) -> "Markup":
    """Return the text with line breaks allowed after a slash or an underscore."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([/_])", r"\1<wbr>", str(escape(text))))


def _axes(cells: list[CellView], table: Table) -> dict[str, list[str]]:
    """Return the axes to filter by, each with its labels."""
    found = {
        axis: list(dict.fromkeys(view.place[axis] for view in cells))
        for axis in (*table.row_axes, *table.column_axes)
    }
    return {axis: labels for axis, labels in found.items() if len(labels) > 1}


def _record(view: CellView, axes: Mapping[str, list[str]]) -> dict[str, Any]:
    return {
        "place": {axis: view.place[axis] for axis in axes},
        "text": f"{view.side} {view.top} {view.cell.status}",
        "flagged": bool(view.cell.flags),
        "anchor": view.anchor,
    }


def _json(value: Any) -> str:
    """Return JSON that is safe inside a script element."""
    text = json.dumps(value, ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text
