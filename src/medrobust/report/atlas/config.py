"""The written part of the atlas: its tables, and the claims of each paper with their verdict."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from medrobust.schema import SchemaError, check_type

Verdict = Literal[
    "reproduced", "reproduced only if", "not reproduced", "cannot be tested", "not measured yet"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
WITHOUT_ROWS: tuple[Verdict, ...] = ("cannot be tested", "not measured yet")
"""Verdicts that rest on no row."""

ABOUT, CLAIMS, PLAN = "about.yaml", "claims.yaml", "plan.yaml"


class AtlasError(ValueError):
    """Raised when the atlas is incomplete, contradicts its rows, or names what is not there."""


@dataclass(frozen=True)
class About:
    """The description of a table, which its rows do not hold.

    Attributes:
        title: heading of the page.
        images: the images that were used, and what a reader must know of them.
        train: arguments of `medrobust train`, one text per command.
        evaluate: arguments of `medrobust evaluate -m`.
        metrics: further metrics that are printed below the table's own.
        victim: the network and what its training reached.
        chosen: choices where the paper is silent, one sentence each.
        contradictions: where the paper contradicts itself, one sentence each.
    """

    title: str
    images: str
    train: list[str]
    evaluate: str
    victim: str = ""
    metrics: list[str] = field(default_factory=list)
    chosen: list[str] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Claim:
    """A claim of a paper and what the rows say of it.

    Attributes:
        claim: the claim, in our words.
        where: where the paper makes it.
        verdict: one of `VERDICTS`.
        because: the reason; `{name}` stands for one of `numbers`.
        condition: what a claim that is reproduced only if needs.
        numbers: name -> `TABLE ROW METRIC`, where ROW is the beginning of a row's id.
    """

    claim: str
    where: str
    verdict: Verdict
    because: str
    condition: str = ""
    numbers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Paper:
    """The claims of one paper.

    Attributes:
        title: the paper's name and source.
        claims: its claims.
    """

    title: str
    claims: tuple[Claim, ...]


def read_about(path: Path) -> About:
    """Read the description of a table.

    Raises:
        AtlasError: it is missing, or a key is unknown, missing or of another type.
    """
    return _made(About, _mapping(path), str(path))


def read_paper(path: Path) -> Paper:
    """Read the claims of a paper.

    Raises:
        AtlasError: it is missing, a key is unknown, missing or of another type, a verdict is
            unknown, or a condition stands with another verdict than `reproduced only if`.
    """
    data = _mapping(path)
    if set(data) != {"title", "claims"} or not isinstance(data["claims"], list):
        raise AtlasError(f"{path} has the keys {sorted(data)}, expected title and a list of claims")
    claims = []
    for number, one in enumerate(data["claims"], start=1):
        place = f"{path}, claim {number}"
        if not isinstance(one, dict):
            raise AtlasError(f"{place} is {one!r}, expected a mapping")
        claim = _made(Claim, one, place)
        if claim.verdict not in VERDICTS:
            raise AtlasError(
                f"{place} has the verdict {claim.verdict!r}, expected one of {', '.join(VERDICTS)}"
            )
        if bool(claim.condition) != (claim.verdict == "reproduced only if"):
            raise AtlasError(
                f"{place} has the condition {claim.condition!r} and the verdict "
                f"{claim.verdict!r}, expected a condition for 'reproduced only if' alone"
            )
        named = set(re.findall(r"\{(\w+)\}", claim.because))
        if named != set(claim.numbers):
            raise AtlasError(
                f"{place} prints the numbers {sorted(named)} and defines {sorted(claim.numbers)}, "
                "expected the same"
            )
        if bool(claim.numbers) == (claim.verdict in WITHOUT_ROWS):
            raise AtlasError(
                f"{place} has the verdict {claim.verdict!r} and {len(claim.numbers)} numbers, "
                f"expected rows unless it is one of {', '.join(WITHOUT_ROWS)}"
            )
        claims.append(claim)
    return Paper(str(data["title"]), tuple(claims))


def read_plan(folder: Path) -> list[str]:
    """Read the names of the tables of an atlas, the most informative first.

    Raises:
        AtlasError: the plan is missing, or is no list of names under `tables`.
    """
    data = _mapping(folder / PLAN)
    names = data.get("tables")
    if set(data) != {"tables"} or not isinstance(names, list):
        raise AtlasError(f"{folder / PLAN} holds {data!r}, expected a list under `tables`")
    return [str(name) for name in names]


T = TypeVar("T", About, Claim)


def _made(kind: type[T], data: Mapping[str, Any], place: str) -> T:
    known = {one.name for one in fields(kind)}
    odd = sorted(set(data) - known)
    if odd:
        raise AtlasError(f"{place} has the unknown keys {odd}, expected some of {sorted(known)}")
    hints = get_type_hints(kind)
    try:
        for name, value in data.items():
            check_type(value, str if name == "verdict" else hints[name], name)
        return kind(**data)
    except (SchemaError, TypeError) as error:
        raise AtlasError(f"{place}: {error}") from None


def _mapping(path: Path) -> Mapping[str, Any]:
    from omegaconf import OmegaConf

    if not path.is_file():
        raise AtlasError(f"{path} is missing, expected a description of what lies next to it")
    try:
        data = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception as error:  # errors of YAML, OmegaConf and files share no class
        raise AtlasError(f"{path} is damaged ({' '.join(str(error).split())})") from None
    if not isinstance(data, dict):
        raise AtlasError(f"{path} holds {data!r}, expected a mapping")
    return {str(key): value for key, value in data.items()}
