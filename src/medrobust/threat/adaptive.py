"""The attacker who knows everything but the defender's dice."""

from medrobust.defense.core.base import Defense, with_identity
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.number import whole
from medrobust.threat.base import Threat
from medrobust.threat.defended import DefendedSurrogate
from medrobust.threat.mean_answer import MeanAnswerSurrogate
from medrobust.threat.mean_loss import MeanLossSurrogate
from medrobust.threat.surrogate import Surrogate, VictimSurrogate

STAND_INS = ("best", "identity")

EXPECTATIONS: dict[str, type[MeanLossSurrogate]] = {
    "loss": MeanLossSurrogate,
    "probability": MeanAnswerSurrogate,
}


class Adaptive(Threat):
    """White box on victim and defense: exact gradients, BPDA where declared, EOT where random.

    Args:
        eot_samples: noise draws per step against a random defense.
        eot: what is averaged over them: `loss`, or class `probability`, of whose mean the loss is.
        stand_in: derivative of a purifier that has no exact one: `best`, that of its differentiable
            approximation, or `identity` (BPDA, Athalye et al. 2018), which is weaker.
        chunk: images × draws that pass at once; bounds memory, changes no result.

    Raises:
        ValueError: another word for `eot` or `stand_in`.
    """

    unscientific = ("chunk",)
    added = ("stand_in",)

    def __init__(
        self,
        eot_samples: int = 32,
        *,
        eot: str = "loss",
        stand_in: str = "best",
        chunk: int = 512,
    ) -> None:
        if eot not in EXPECTATIONS:
            raise ValueError(f"threat.eot={eot}, expected {' or '.join(EXPECTATIONS)}")
        if stand_in not in STAND_INS:
            raise ValueError(f"threat.stand_in={stand_in}, expected {' or '.join(STAND_INS)}")
        self.stand_in = stand_in
        self.eot_samples = whole(eot_samples, "threat.eot_samples", low=1)
        self.surrogate = EXPECTATIONS[eot]
        self.chunk = whole(chunk, "threat.chunk", low=1)

    def __call__(self, victim: Victim, defense: Defense) -> Surrogate:
        """The defended victim, differentiable; the bare one where nothing defends it.

        So a set that is crafted before no defense is the oblivious attacker's, too. Of one draw,
        as of a deterministic defense, there is nothing to average, and `eot` makes no difference.
        """
        if type(defense) is NoDefense:
            return VictimSurrogate(victim)
        seen = with_identity(defense) if self.stand_in == "identity" else defense
        identity = seen is not defense
        if not defense.random or self.eot_samples == 1:
            return DefendedSurrogate(victim, seen, identity=identity)
        made = self.surrogate(victim, seen, self.eot_samples, self.chunk, identity=identity)
        made.expectations = EXPECTATIONS
        return made
