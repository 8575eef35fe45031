"""Confusion matrices under an attack, one panel per defense (MDDA, Figures 4 to 6)."""

import math
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medrobust.report.figure.core.base import Drawing, Figure, FigureError, Source, canvas, heading
from medrobust.report.figure.core.base import several as names
from medrobust.report.render.colour import heat
from medrobust.report.table.label import Level, choice_levels, flatten, readable
from medrobust.result.row import CELL, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FIELD, _ACROSS = 0.4, 3  # inches per class; panels side by side


@dataclass(frozen=True, kw_only=True)
class Confusion(Figure):
    """One drawing per attack and victim, with one panel per defense.

    A field shows the share of its true class in percent as number and colour. An abstention
    counts as its leading class.

    Attributes:
        attack: choices of `attack`, such as `mdda/dim`; empty for all. `none` is clean images.
        defense: choices of `defense` in the order of the panels; empty for all, as they ran.
        threat: choices of `threat`; empty for all.
    """

    attack: tuple[str, ...] = ()
    defense: tuple[str, ...] = ()
    threat: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `FigureError` if a choice is not a name."""
        for key in ("attack", "defense", "threat"):
            names(key, getattr(self, key))

    def draw(self, source: Source) -> list[Drawing]:
        """Return one drawing per attack, budget, threat and victim."""
        rows = [row for row in source.rows if row.confusion is not None and self._wanted(row)]
        if not rows:
            raise FigureError(
                "no finished row with a confusion matrix fits "
                f"attack={list(self.attack)} defense={list(self.defense)} "
                f"threat={list(self.threat)}; an empty list means all"
            )
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            groups.setdefault(_group(row), []).append(row)
        titles = _told_apart(list(groups))
        return [
            self._one(members, title, len(groups) > 1)
            for members, title in zip(groups.values(), titles, strict=True)
        ]

    def _wanted(self, row: Row) -> bool:
        return all(
            not chosen or row.cell.get(axis, "") in names(axis, chosen)
            for axis, chosen in (
                ("attack", self.attack),
                ("defense", self.defense),
                ("threat", self.threat),
            )
        )

    def _one(self, rows: list[Row], said: str, several: bool) -> Drawing:
        if self.defense:
            order = names("defense", self.defense)
            rows = sorted(rows, key=lambda row: order.index(row.cell.get("defense", "")))
        labels = choice_levels(rows, "defense", ())
        classes = rows[0].classes or [str(k) for k in range(len(rows[0].confusion or ()))]
        across = min(len(rows), _ACROSS)
        down = math.ceil(len(rows) / across)
        side = max(2.2, _FIELD * len(classes))
        margin = 0.35 + 0.075 * max(map(len, classes))
        made = canvas(across * (side + 0.25) + margin, down * (side + 0.55) + margin + 0.35)
        heading(made, self.titled(said), any(row.phantom for row in rows))
        grid = made.subplots(down, across, squeeze=False)
        for number, axes in enumerate(grid.flat):
            if number >= len(rows):
                axes.set_visible(False)
                continue
            left, bottom = number % across == 0, number + across >= len(rows)
            _panel(axes, rows[number], labels[number], classes, left, bottom)
        made.supylabel("true class", fontsize=9)
        made.supxlabel("predicted class", fontsize=9)
        name = f"{self.name}_{_file(said)}" if several else self.name
        caption = f"Confusion under {said}: percent of each true class, by defense. "
        return Drawing(name, caption + f"n = {rows[0].n}.", made)


def _panel(
    axes: "Axes", row: Row, level: Level, classes: list[str], left: bool, bottom: bool
) -> None:
    counts = row.confusion or []
    totals = [sum(line) for line in counts]
    shares = [
        [count / total if total else 0.0 for count in line]
        for line, total in zip(counts, totals, strict=True)
    ]
    axes.imshow(shares, cmap="viridis", vmin=0.0, vmax=1.0)
    for true, line in enumerate(shares):
        for said, share in enumerate(line):
            text = f"{100 * share:.0f}" if totals[true] else "–"
            axes.text(
                *(said, true),
                text,
                ha="center",
                va="center",
                fontsize=6.5,
                color=heat(share)[1],
            )
    accuracy = row.metrics.get("accuracy")
    below = "" if accuracy is None else f"\naccuracy {100 * accuracy:.1f} %"
    axes.set_title("\n".join(textwrap.wrap(level.label, 32)) + below, fontsize=8.5)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes if bottom else [], rotation=90, fontsize=7)
    axes.set_yticks(ticks, classes if left else [], fontsize=7)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _group(row: Row) -> tuple[str, ...]:
    """Return the names that the panels of one drawing share."""
    eps = flatten(row.attack_variant).get("eps")
    budget = "" if eps is None else f"eps {readable(eps)}"
    places = [row.cell.get(axis, "") for axis in CELL if axis not in ("attack", "defense")]
    return (row.cell.get("attack", ""), budget, *places, f"seed {row.seed}")


def _told_apart(groups: list[tuple[str, ...]]) -> list[str]:
    """Return a title per group: its attack and budget, and whatever else differs."""
    varying = [len(set(axis)) > 1 for axis in zip(*groups, strict=True)]
    return [
        ", ".join(text for at, text in enumerate(group) if text and (at < 2 or varying[at]))
        for group in groups
    ]


def _file(text: str) -> str:
    return "".join(sign if sign.isalnum() else "_" for sign in text).strip("_").replace("__", "_")


KIND = Confusion
