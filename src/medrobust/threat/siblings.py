"""Several views of one system, for an attacker who tries them all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate


@dataclass(frozen=True)
class Siblings:
    """Views that one attacker has of the system that it attacks.

    Attributes:
        bare: the victim without its defense.
        stand_ins: by name, the surrogates that an attack may differentiate, the surrogate itself
            first. They give equal predictions with other derivatives, or average other things.
        deployed: the system as it will answer, without gradients. It is asked with the attacker's
            seeds, so that an attacker never sees the defender's draws.
    """

    bare: "Surrogate"
    stand_ins: "Mapping[str, Surrogate]"
    deployed: "Surrogate"

    @property
    def every(self) -> "tuple[Surrogate, ...]":
        """All views, each once."""
        return tuple(dict.fromkeys((self.bare, *self.stand_ins.values(), self.deployed)))
