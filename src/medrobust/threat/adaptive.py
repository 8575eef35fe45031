"""The attacker who knows everything but the defender's dice."""

from medrobust.defense.core.base import Defense
from medrobust.defense.core.stand_in import IDENTITY, stand_ins, with_identity
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.number import whole
from medrobust.threat.base import Threat
from medrobust.threat.defended import DefendedSurrogate
from medrobust.threat.mean_answer import MeanAnswerSurrogate
from medrobust.threat.mean_loss import MeanLossSurrogate
from medrobust.threat.surrogate import Surrogate, VictimSurrogate

BEST = "best"
"""The default stand-in of every defense."""

EXPECTATIONS: dict[str, type[MeanLossSurrogate]] = {
    "loss": MeanLossSurrogate,
    "probability": MeanAnswerSurrogate,
}


class Adaptive(Threat):
    """White box on victim and defense: exact gradients, BPDA where declared, EOT where random.

    Args:
        eot_samples: noise draws per step against a random defense.
        eot: what is averaged over them: `loss`, or class `probability`, of whose mean the loss is.
        stand_in: derivative of the purifiers: `best`, the default of each, which is the strongest
            measured; `identity`, the identity instead of every approximation (BPDA, Athalye et al.
            2018), while exact ones stay; or another name that the defense has (`stand_ins`).
        chunk: images × draws that pass at once; bounds memory, changes no result.

    Raises:
        ValueError: another word for `eot`; when called, a `stand_in` that the defense lacks.
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
        seen = seen_as(defense, self.stand_in)
        if not defense.random or self.eot_samples == 1:
            return DefendedSurrogate(victim, seen)
        made = self.surrogate(victim, seen, self.eot_samples, self.chunk)
        made.expectations = EXPECTATIONS
        return made


def seen_as(defense: Defense, name: str) -> Defense:
    """Return the defense with the named derivative.

    Args:
        defense: deployed defense.
        name: `best`, `identity` or a name of `stand_ins(defense)`.

    Raises:
        ValueError: the defense has no stand-in of that name; lists those that it has.
    """
    if name == BEST:
        return defense
    if name == IDENTITY:
        return with_identity(defense)
    known = stand_ins(defense)
    if name not in known:
        choices = " or ".join(dict.fromkeys((BEST, IDENTITY, *known)))
        raise ValueError(
            f"threat.stand_in={name} is no stand-in of {type(defense).__name__}, expected {choices}"
        )
    return known[name]
