"""The attacker who knows the victim but not the defense."""

from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.threat.base import Threat
from medrobust.threat.surrogate import Surrogate, VictimSurrogate


class Oblivious(Threat):
    """White box on the bare victim: the protocol of most papers, and the weakest of white boxes."""

    def __call__(self, victim: Victim, defense: Defense) -> Surrogate:
        """The bare victim."""
        return VictimSurrogate(victim)
