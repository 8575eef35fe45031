"""Confusion matrices under an attack, one panel per defense (MDDA, Figures 4 to 6)."""

import math
import textwrap
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medrobust.report.figure.core.base import Drawing, Figure, FigureError, Source, canvas, heading
from medrobust.report.figure.core.base import several as names
from medrobust.report.figure.core.series import Runs, but_seeds, put, seeds_of, unfinished
from medrobust.report.figure.core.style import COLUMN, PAGE, SMALL, TEXT
from medrobust.report.render.colour import heat
from medrobust.report.table.config import OVER, SEEDS
from medrobust.report.table.label import axis_value, choice_levels, flatten, readable
from medrobust.report.table.seeds import mean_sd
from medrobust.result.row import CELL, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMALLEST = 0.19  # inches, a field with three digits
_SIGN = 0.6 * SMALL / 72  # inches, a character of a class name


@dataclass(frozen=True, kw_only=True)
class Confusion(Figure):
    """One drawing per attack and victim, with one panel per defense.

    A field shows the share of its true class in percent as number and colour. An abstention
    counts as its leading class. With `table.over` the counts of these seeds are added up.

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
        """Return one drawing per attack, budget, threat, victim and seed."""
        rows = [row for row in source.rows if row.confusion is not None and self._wanted(row)]
        if not rows:
            raise FigureError(
                "no finished row with a confusion matrix fits "
                f"attack={list(self.attack)} defense={list(self.defense)} "
                f"threat={list(self.threat)}; an empty list means all"
            )
        groups: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            groups.setdefault(_group(row, source.over), []).append(row)
        titles, lacking = _told_apart(list(groups)), unfinished(source.failed, source.over)
        panels = [self._panels(members, source.over, lacking) for members in groups.values()]
        if not any(any(own.values()) for own in panels):
            raise FigureError("no confusion matrix has every seed of table.over finished")
        return [
            self._one(own, title, len(groups) > 1)
            for own, title in zip(panels, titles, strict=True)
            if any(own.values())
        ]

    def _panels(
        self, rows: list[Row], over: Sequence[str], lacking: Collection[Hashable]
    ) -> dict[str, list[Row]]:
        """Return the rows of each panel, one for each seed; none if a seed is unfinished."""
        if self.defense:
            order = names("defense", self.defense)
            rows = sorted(rows, key=lambda row: order.index(row.cell.get("defense", "")))
        levels = choice_levels(rows, "defense", [key for name in over for key in OVER[name]])
        runs: dict[str, Runs] = {}
        for row, level in zip(rows, levels, strict=True):
            attack = row.cell.get("attack", "")
            put(runs.setdefault(level.label, {}), attack, seeds_of(row, over), row, level.label)
        panels = {
            label: [row for seeds in attacks.values() for row in seeds.values()]
            for label, attacks in runs.items()
        }
        return {
            label: [] if any(but_seeds(row, over) in lacking for row in members) else members
            for label, members in panels.items()
        }

    def _wanted(self, row: Row) -> bool:
        return all(
            not chosen or row.cell.get(axis, "") in names(axis, chosen)
            for axis, chosen in (
                ("attack", self.attack),
                ("defense", self.defense),
                ("threat", self.threat),
            )
        )

    def _one(self, panels: dict[str, list[Row]], said: str, several: bool) -> Drawing:
        empty = [label for label, rows in panels.items() if not rows]
        panels = {label: rows for label, rows in panels.items() if rows}
        every = [row for rows in panels.values() for row in rows]
        classes = every[0].classes or [str(k) for k in range(len(every[0].confusion or ()))]
        labels = ["\n".join(_two_lines(name)) for name in classes]
        margin = 0.45 + _SIGN * max(len(line) for label in labels for line in label.split("\n"))
        across = _across(len(panels), len(classes), margin)
        down = math.ceil(len(panels) / across)
        width = COLUMN if across == 1 else PAGE
        side = max((width - margin) / across - 0.15, _SMALLEST * len(classes))
        width = max(width, margin + across * (side + 0.15))
        made = canvas(width, down * (side + 0.45) + margin + 0.3)
        heading(made, self.titled(said.replace("eps ", "ε = ")), any(r.phantom for r in every))
        grid = made.subplots(down, across, squeeze=False)
        size = min(SMALL, 72 * side / len(classes) / 2.7)
        for number, axes in enumerate(grid.flat):
            if number >= len(panels):
                axes.set_visible(False)
        for number, (axes, (label, rows)) in enumerate(
            zip(grid.flat, panels.items(), strict=False)
        ):
            _panel(axes, rows, label, size)
            left, bottom = number % across == 0, number + across >= len(panels)
            ticks = range(len(classes))
            axes.set_xticks(ticks, labels if bottom else [], rotation=90, fontsize=size)
            axes.set_yticks(ticks, labels if left else [], fontsize=size)
        made.supylabel("true class", fontsize=TEXT)
        made.supxlabel("predicted class", fontsize=TEXT)
        name = f"{self.name}_{_file(said)}" if several else self.name
        caption = (
            f"Confusion under {said.replace('eps ', 'ε = ')}: percent of each true class, by "
            f"defense. n = {every[0].n}"
        )
        counts = {len(rows) for rows in panels.values()}
        seeds = f", counts of {max(counts)} seeds added up" if max(counts) > 1 else ""
        rest = f" Not drawn, as a seed is not finished: {', '.join(empty)}." if empty else ""
        return Drawing(name, f"{caption}{seeds}.{rest}", made)


def _across(panels: int, classes: int, margin: float) -> int:
    """Return the number of panels side by side whose numbers can still be read on a page."""
    fits = [n for n in (3, 2) if (PAGE - margin) / n - 0.15 >= _SMALLEST * classes]
    across = min(panels, fits[0] if fits else 1)
    return 2 if (panels, across) == (4, 3) else across


def _two_lines(name: str) -> list[str]:
    return textwrap.wrap(name, 18, max_lines=2, placeholder=" …")


def _panel(axes: "Axes", rows: Sequence[Row], label: str, size: float) -> None:
    counts = np.sum([row.confusion or [] for row in rows], axis=0)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    axes.imshow(shares, cmap="viridis", vmin=0.0, vmax=1.0)
    for true, line in enumerate(shares.tolist()):
        for said, share in enumerate(line):
            text = f"{100 * share:.0f}" if totals[true, 0] else "–"
            colour = heat(share)[1]
            axes.text(said, true, text, ha="center", va="center", fontsize=size, color=colour)
    known = [row.metrics["accuracy"] for row in rows if "accuracy" in row.metrics]
    below = ""
    if len(known) == len(rows):
        mean, sd = mean_sd(known)
        below = f"\naccuracy {100 * mean:.1f}{'' if sd is None else f' ± {100 * sd:.1f}'} %"
    axes.set_title("\n".join(textwrap.wrap(label, 32)) + below)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _group(row: Row, over: Sequence[str]) -> tuple[str, ...]:
    """Return the names that the panels of one drawing share."""
    eps = flatten(row.attack_variant).get("eps")
    budget = "" if eps is None else f"eps {readable(eps)}"
    places = [row.cell.get(axis, "") for axis in CELL if axis not in ("attack", "defense")]
    seeds = [
        f"{axis.replace('_', ' ')} {axis_value(row, axis)}" for axis in SEEDS if axis not in over
    ]
    return (row.cell.get("attack", ""), budget, *places, *seeds)


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
