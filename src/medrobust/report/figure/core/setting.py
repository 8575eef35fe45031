"""Settings of a row's attack, defense or victim as numbers and symbols."""

from medrobust.number import NumberError, fraction
from medrobust.report.table.label import variant
from medrobust.result.row import Row

_SYMBOLS = {"eps": "ε", "sigma": "σ", "sigma2": "σ²"}


def attack_of(row: Row) -> str:
    """Return the choice of `attack`."""
    return row.cell.get("attack", "")


def setting_of(row: Row, key: str) -> object:
    """Return a setting such as `defense.steps`, of an object the name of its class.

    None if the row lacks it.
    """
    parent, _, name = key.partition(".")
    settings = variant(row, parent)
    kind = settings.get(f"{name}.class")
    return settings.get(name) if kind is None else str(kind).rpartition(".")[2]


def number_of(row: Row, key: str) -> float | None:
    """Return a setting as a number; None if the row lacks it, or it is none."""
    value = setting_of(row, key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return fraction(value, key, low=-1e12, high=1e12)
    except NumberError:
        return None


def symbol(key: str) -> str:
    """Return the symbol of a setting (`ε` of `attack.eps`), or its own name."""
    name = key.rpartition(".")[2]
    return _SYMBOLS.get(name, name)
