"""Identity of a row: everything that its numbers depend on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medrobust.configured import Code, all_code, digests, outside, unsourced
from medrobust.evaluation.adversarial import training_digest
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.identity.provenance import changed
from medrobust.evaluation.identity.scientific import Science
from medrobust.fingerprint import digest
from medrobust.target import by_name
from medrobust.threat.base import Threat

FORMAT = 2


@dataclass(frozen=True)
class Identity:
    """A row's id, and what it is made of.

    Attributes:
        id: SHA-256.
        fingerprints: victim, surrogate, attack, defense, images, data and code.
        code: classes and functions that the cell computes with.
        package: digest of the whole package, taken before anything can be edited while it runs.
    """

    id: str
    fingerprints: dict[str, str]
    code: tuple[Code, ...]
    package: str

    @property
    def unsourced(self) -> list[str]:
        """Names of code without source, which cannot be known to be the same again."""
        return unsourced(self.code)

    @property
    def provenance(self) -> dict[str, Any]:
        """The code that makes the row, as the row records it."""
        return {"package": self.package, "outside": outside(self.code), "changed": list(changed())}


def identity_of(
    cell: Cell, threat: Threat, names: Mapping[str, str], science: Science, package: str
) -> Identity:
    """Return the identity of a cell's row.

    Args:
        cell: what is evaluated.
        threat: that made its surrogate.
        names: of data, model, objective, threat, surrogate, attack and defense.
        science: the part of the config that decides its numbers.
        package: digest of the package's code.
    """
    fingerprints = {
        "victim": cell.victim.fingerprint,
        "victim_code": digest(digests(cell.victim.computed_by)),
        "threat_code": digest(threat.code_digests()),
        "surrogate": cell.surrogate.identity,
        "attack": cell.attack.fingerprint,
        "defense": cell.defense.fingerprint,
        "images": cell.clean.digest,
        "data": cell.data.manifest.digest,
    }
    if cell.attack.learns:
        fingerprints["training_images"] = training_digest(cell.data)
    if cell.clean.groups is not None:  # intervals are over them
        fingerprints["groups"] = cell.clean.groups.digest
    if cell.validation is not None:
        fingerprints["validation_images"] = cell.validation.digest
    code = all_code(cell.victim, threat, cell.surrogate, cell.attack, cell.defense)
    # Code without source is told apart by its config alone.
    whole = by_name(science.config) if unsourced(code) else None
    parts = [FORMAT, dict(names), fingerprints, science.keys, whole]
    return Identity(digest(parts), fingerprints, code, package)
