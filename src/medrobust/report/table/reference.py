"""Reference numbers of papers as data."""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from importlib.resources import files

from medrobust.number import NumberError, fraction


class PaperError(ValueError):
    """Raised when a reference number is ambiguous, or a paper is unknown."""


@dataclass(frozen=True)
class PaperValue:
    """Number printed by a paper.

    Attributes:
        paper: name of the CSV file.
        table: table of the paper, such as `table3`.
        dataset: our name of the data set.
        model: attacked and defended network.
        threat: `clean`, `oblivious`, `transfer`, `adaptive` or `blackbox`.
        surrogate: surrogate network of a transfer attack, or empty.
        attack: attack, `none` on clean images.
        attack_tokens: settings of the attack, such as `alpha=1`.
        norm: `linf`, `l2`, or empty if not stated.
        eps: budget in pixel units of [0, 1], or None if not stated.
        steps: number of steps, or None if not stated.
        defense: defense, or `none`.
        defense_tokens: settings of the defense, such as `n=10000`.
        metric: the paper's metric.
        value: value; proportions in [0, 1], everything else in `unit`.
        unit: `percent` (as printed; `value` is a proportion), `ratio`, `seconds` or `hours`.
        note: remark on the number.
        line: line in the CSV file.
    """

    paper: str
    table: str
    dataset: str
    model: str
    threat: str
    surrogate: str
    attack: str
    attack_tokens: tuple[str, ...]
    norm: str
    eps: float | None
    steps: int | None
    defense: str
    defense_tokens: tuple[str, ...]
    metric: str
    value: float
    unit: str
    note: str
    line: int


@cache
def papers() -> tuple[str, ...]:
    """Return the names of the papers with numbers."""
    names = (item.name for item in files("medrobust.report").joinpath("papers").iterdir())
    stems = {name.removesuffix(".csv") for name in names if name.endswith(".csv")}
    return tuple(sorted(stems - {"class_counts"}))


@cache
def load(paper: str) -> tuple[PaperValue, ...]:
    """Return all numbers of a paper, in the order of its CSV file.

    Raises:
        PaperError: the paper is unknown.
    """
    if paper not in papers():
        raise PaperError(f"no paper {paper!r}; there are {', '.join(papers())}")
    return tuple(_value(line, number) for number, line in enumerate(_read(paper), start=2))


def class_counts(dataset: str) -> dict[str, int]:
    """Return a paper's number of images per class code; empty if none prints them."""
    return {
        line["class_code"]: int(line["count"])
        for line in _read("class_counts")
        if line["dataset"] == dataset
    }


def lookup(
    paper: str,
    table: str,
    metric: str,
    *,
    dataset: str,
    model: str,
    threat: str,
    attack: str,
    defense: str,
    surrogate: str = "",
    attack_tokens: Collection[str] = (),
    norm: str | None = None,
    eps: float | str | None = None,
    steps: int | None = None,
    tokens: Collection[str] = (),
) -> PaperValue | None:
    """Return the number that a paper prints for a cell.

    A budget, norm or step count counts only when both sides state it; on clean images it counts
    never. Every token given must be among the paper's, on clean images too.

    Args:
        paper: one of `papers()`.
        table: table of the paper, such as `table3`.
        metric: the paper's metric.
        dataset: name in the CSV file, as are the other names.
        model: attacked network.
        threat: threat; ignored if `attack` is `none`.
        attack: attack, or `none`.
        defense: defense, or `none`.
        surrogate: surrogate network of a transfer attack.
        attack_tokens: settings of the attack.
        norm: `linf` or `l2`.
        eps: budget as a number or a fraction.
        steps: number of steps.
        tokens: settings of the defense.

    Returns:
        The number, or None when the paper prints none.

    Raises:
        PaperError: several different numbers fit.
    """
    names = (table, metric, dataset, model, defense, attack)
    found = [
        value
        for value in load(paper)
        if names
        == (value.table, value.metric, value.dataset, value.model, value.defense, value.attack)
        and _holds(tokens, value.defense_tokens)
        and _holds(attack_tokens, value.attack_tokens)
    ]
    if attack != "none":
        budget = None if eps is None else fraction(eps, "eps", high=1e4)
        found = [
            value
            for value in found
            if (threat, surrogate) == (value.threat, value.surrogate)
            and (norm is None or value.norm in ("", norm))
            and (budget is None or value.eps is None or _equal(budget, value.eps))
            and (steps is None or value.steps is None or steps == value.steps)
        ]
    if len({value.value for value in found}) > 1:
        shown = "; ".join(
            f"line {value.line}: eps {value.eps}, steps {value.steps}, "
            f"{' '.join((*value.attack_tokens, *value.defense_tokens))} -> {value.value:g}"
            for value in found[:6]
        )
        raise PaperError(
            f"{paper} {table} prints {len(found)} numbers for {dataset}, {model}, {attack}, "
            f"{defense} ({shown}); narrow it by eps, steps or tokens in table.reference"
        )
    return found[0] if found else None


def token_values(tokens: Collection[str]) -> dict[str, float]:
    """Return the tokens of the form `name=number` as numbers."""
    parts = (token.partition("=") for token in tokens)
    numbers = ((name, _number(text)) for name, _, text in parts)
    return {name: number for name, number in numbers if number is not None}


def _holds(wanted: Collection[str], printed: Collection[str]) -> bool:
    numbers = token_values(printed)
    return all(
        token in printed
        or any(
            name in numbers and _equal(numbers[name], value)
            for name, value in token_values([token]).items()
        )
        for token in wanted
    )


def _equal(one: float, other: float) -> bool:
    return abs(one - other) <= 1e-6 * max(abs(one), abs(other))


def _number(text: str) -> float | None:
    try:
        return fraction(text, "token", high=1e12)
    except NumberError:
        return None


def _read(name: str) -> list[dict[str, str]]:
    text = files("medrobust.report").joinpath("papers", f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _value(line: dict[str, str], number: int) -> PaperValue:
    value = Decimal(line["value"])
    return PaperValue(
        paper=line["paper"],
        table=line["table"],
        dataset=line["dataset"],
        model=line["model"],
        threat=line["threat"],
        surrogate=line["surrogate"],
        attack=line["attack"],
        attack_tokens=tuple(filter(None, line["attack_variant"].split(";"))),
        norm=line["norm"],
        eps=fraction(line["eps"], "eps") if line["eps"] else None,
        steps=int(line["steps"]) if line["steps"] else None,
        defense=line["defense"],
        defense_tokens=tuple(filter(None, line["defense_variant"].split(";"))),
        metric=line["metric"],
        value=float(value / 100 if line["unit"] == "percent" else value),
        unit=line["unit"],
        note=line["note"],
        line=number,
    )
