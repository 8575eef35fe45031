"""The attacker who has another model."""

from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.threat.base import Threat
from medrobust.threat.surrogate import Surrogate, VictimSurrogate


class Transfer(Threat):
    """White box on another victim; neither the attacked victim nor its defense is seen.

    Args:
        surrogate: the attacker's own trained model.
    """

    def __init__(self, surrogate: Victim) -> None:
        self.surrogate = surrogate

    def __call__(self, victim: Victim, defense: Defense) -> Surrogate:
        """The attacker's model."""
        if self.surrogate.fingerprint == victim.fingerprint:
            raise ValueError(
                "threat=transfer: the surrogate is the victim itself; choose another one with "
                "model@threat.surrogate_model=<model> or threat.surrogate_seed=<seed>, "
                "or set threat=oblivious"
            )
        if self.surrogate.mean.device != victim.mean.device:  # moving drops the faster copy
            self.surrogate.to(victim.mean.device)
        return VictimSurrogate(self.surrogate.accelerate())
