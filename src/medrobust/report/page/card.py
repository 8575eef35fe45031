"""Card of a sweep: data, victims, protocol and code."""

from collections.abc import Sequence
from dataclasses import dataclass

from medrobust.report.table.footnote import uncovered
from medrobust.report.table.label import flatten, readable
from medrobust.report.table.name import named
from medrobust.result.row import Row

_SETTINGS = ("split", "quantize", "precision", "defender_draws")


@dataclass(frozen=True)
class Facts:
    """A part of the card.

    Attributes:
        title: heading, such as `Victims`.
        lines: name, value, and the full text of a shortened value.
    """

    title: str
    lines: tuple[tuple[str, str, str], ...]


def card(rows: Sequence[Row]) -> list[Facts]:
    """Return the provenance of the rows' numbers.

    Args:
        rows: rows of one table, including failed ones.
    """
    done = [row for row in rows if row.status == "done"]
    return [
        facts
        for facts in (_data(done), _victims(done), _protocol(rows), _code(rows))
        if facts.lines
    ]


def _data(rows: Sequence[Row]) -> Facts:
    lines = []
    for row in _distinct(rows, "data"):
        kind = "PHANTOM: generated stand-ins, no real images" if row.phantom else "real images"
        print_ = row.fingerprints.get("data", "")
        count = ", ".join([f"{row.n} images", *(f"{n} {own}" for own, n in row.groups.items())])
        said = f"{count}, {len(row.classes)} classes, {kind}"
        lines.append((_name(row, "data"), said + _short(print_), print_))
    return Facts("Data", tuple(dict.fromkeys(lines)))


def _victims(rows: Sequence[Row]) -> Facts:
    lines = []
    for row in _distinct(rows, "victim"):
        print_ = row.fingerprints.get("victim", "")
        name = f"{_name(row, 'model')} on {_name(row, 'data')}"
        seed = row.config.get("victim_seed")
        said = _name(row, "objective") + (f", training seed {seed}" if seed is not None else "")
        lines.append((name, said + _short(print_), print_))
    return Facts("Victims", tuple(dict.fromkeys(lines)))


def _protocol(rows: Sequence[Row]) -> Facts:
    lines = [("seed", ", ".join(str(seed) for seed in sorted({row.seed for row in rows})), "")]
    for key in _SETTINGS:
        values = dict.fromkeys(readable(row.config[key]) for row in rows if key in row.config)
        if values:
            lines.append((key, ", ".join(values), ""))
    budgets = dict.fromkeys(
        readable(value)
        for row in rows
        if (value := flatten(row.attack_variant).get("eps")) is not None
    )
    if budgets:
        lines.append(("eps", ", ".join(budgets), ""))
    return Facts("Protocol", tuple(lines))


def _code(rows: Sequence[Row]) -> Facts:
    lines = []
    revisions = sorted({row.revision for row in rows if row.revision})
    if revisions:
        lines.append(("revision", ", ".join(revisions), ""))
    lines += [(name, text, "") for name, text in uncovered(rows)]
    made = sorted(row.created for row in rows if row.created)
    if made:
        span = made[0] if made[0] == made[-1] else f"{made[0]} to {made[-1]}"
        lines.append(("computed", span, ""))
    seconds = sum(row.seconds.get("total", 0.0) for row in rows)
    if seconds:
        lines.append(("time of all cells", f"{seconds:.0f} s", ""))
    names = dict.fromkeys(name for row in rows for name in row.versions)
    for name in names:
        found = dict.fromkeys(row.versions[name] for row in rows if name in row.versions)
        lines.append((name, ", ".join(found), ""))
    return Facts("Code", tuple(lines))


def _name(row: Row, axis: str) -> str:
    return named(axis, row.cell.get(axis, ""), {})[0]


def _distinct(rows: Sequence[Row], print_: str) -> list[Row]:
    """Return the first row of each combination of data, model and fingerprint."""
    return list(
        {
            (row.cell.get("data"), row.cell.get("model"), row.fingerprints.get(print_)): row
            for row in reversed(rows)
        }.values()
    )[::-1]


def _short(print_: str) -> str:
    return f", fingerprint {print_[:12]}" if print_ else ""
