"""Merges what the settings measured into one table, and says which margins are nothing."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.margins.exempt import excuse
from tests.margins.record import share

AMPLE = 0.5  # of the threshold: so large a margin is safe however far processors are apart
ONE = "NOTHING: one image flips it"


class Margin(NamedTuple):
    """One claim of one test, over all settings.

    Attributes:
        test: its node id.
        place: file and line of the claim.
        text: its source, with the sign it was measured at when it has several.
        unit: `count`, `rate`, `real` or `tolerance`.
        threshold: the side that was compared against, where the margin is smallest.
        margins: by setting.
        images: how many images flip the claim; 0 where it does not count images.
        still: whether both sides are equal under every setting and seed.
        excuse: why the claim may lie on its bound; empty otherwise.
    """

    test: str
    place: str
    text: str
    unit: str
    threshold: float
    margins: Mapping[str, float]
    images: int
    still: bool
    excuse: str

    @property
    def worst(self) -> float:
        """The smallest margin."""
        return min(self.margins.values())

    @property
    def relative(self) -> float:
        """The smallest margin as a share of the threshold; of a tolerance, what is left of it."""
        if self.unit == "tolerance":
            return self.worst
        return self.worst / (abs(self.threshold) or 1.0)

    @property
    def spread(self) -> float:
        """Return the largest less the smallest margin of the same seeds."""
        same = [value for name, value in self.margins.items() if not name.startswith("seed")]
        return max(same) - min(same) if same else 0.0

    @property
    def note(self) -> str:
        """Why the margin is nothing, or why a small one may be."""
        if self.excuse and self.worst >= 0:
            return self.excuse
        if self.worst < 0:
            return "NOTHING: failed"
        if self.still and not self.worst:
            return "on its bound under every setting and seed"
        if self.images == 1:
            return "as an `all`: one value under every setting and seed" if self.still else ONE
        close = self.worst <= self.spread and self.relative < AMPLE and not self.images
        return f"NOTHING: processors are {self.spread:.2g} apart" if close else ""

    @property
    def nothing(self) -> bool:
        """Tell whether one image, or another processor, can flip the claim."""
        return self.note.startswith("NOTHING")


def read(files: Mapping[str, Path]) -> tuple[list[Margin], dict[str, list[str]]]:
    """Read the JSON lines of every setting.

    Args:
        files: by the setting's name.

    Returns:
        The margins, tightest first, and the failed tests of each setting.
    """
    failed: dict[str, list[str]] = {}
    claims: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = defaultdict(dict)
    for setting, path in files.items():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        failed[setting] = [line["test"] for line in lines if line.get("failed")]
        for line in lines:
            if "text" in line:
                key = (line["test"], line["path"], line["line"], line["text"], line.get("link", 0))
                old = claims[key].get(setting)
                if old is None or line["margin"] < old["margin"]:
                    claims[key][setting] = line
    found = [_merge(key, by) for key, by in claims.items()]
    return sorted(found, key=lambda one: (not one.nothing, one.images or 1e9, one.relative)), failed


def _merge(key: tuple[Any, ...], by: dict[str, dict[str, Any]]) -> Margin:
    test, path, line, text, _ = key
    worst = min(by.values(), key=lambda one: float(one["margin"]))
    sign = worst["sign"]
    fixed = worst.get("fixed", [False, True])
    place = f"{path}:{line}"
    unit, images = worst["unit"], 0
    if unit != "tolerance":
        unit, images = _images(list(by.values()), worst, sign)
    seen = {(one["left"], one["right"]) for one in by.values()}
    still = len(by) > 1 and len(seen) == 1
    shown = f"{text}  [{sign}]" if text.count("<") + text.count(">") > 1 else text
    margins = {setting: float(one["margin"]) for setting, one in by.items()}
    threshold = worst["left"] if fixed[0] and not fixed[1] else worst["right"]
    return Margin(test, place, shown, unit, float(threshold), margins, images, still, excuse(text))


def _images(all_: list[dict[str, Any]], worst: dict[str, Any], sign: str) -> tuple[str, int]:
    """Return the unit, and how many images flip the claim."""
    if any(one["unit"] == "real" for one in all_):
        return "real", 0
    per = 1
    if any(one["unit"] == "rate" for one in all_):
        values = [
            float(one[side])
            for one in all_
            for side, known in zip(("left", "right"), one["fixed"], strict=True)
            if not known
        ]
        shares = [share(value) for value in values]
        per = math.lcm(*shares, *(one.get("images", 1) for one in all_))
        if not all(shares) or per == 1 or per > 5000:
            return "real", 0
    steps = round(worst["margin"] * per, 4)
    strict = sign in ("<", ">")
    return worst["unit"], max(1, math.ceil(steps) if strict else math.floor(steps) + 1)


def render(found: list[Margin], settings: list[str]) -> str:
    """Return the table in Markdown."""
    head = ["test", "claim", "threshold", "images that flip it", *settings, "worst", "note"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for one in found:
        values = [f"{one.margins[s]:.4g}" if s in one.margins else "" for s in settings]
        count = str(one.images) if one.images else one.unit
        test = one.test.removeprefix("tests/").replace("|", "\\|")
        claim = f"`{one.text}`".replace("|", "\\|") + f" {one.place}"
        lines.append(
            f"| {test} | {claim} | {one.threshold:.6g} | {count} | "
            + " | ".join(values)
            + f" | {one.worst:.4g} | {one.note} |"
        )
    return "\n".join(lines) + "\n"
