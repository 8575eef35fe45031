"""Victim and defense as one differentiable model."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from medrobust.defense.core.base import Defense
from medrobust.defense.core.stand_in import stand_ins
from medrobust.fingerprint import digest
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.rng import fold_in
from medrobust.threat.deployed import DeployedSurrogate
from medrobust.threat.surrogate import Siblings, Surrogate, VictimSurrogate


class DefendedSurrogate(Surrogate):
    """Victim behind the defense's proxy, one draw of its noise per query.

    Args:
        victim: frozen.
        defense: its proxy gives exact or straight-through gradients, as it declares; may be one of
            `stand_ins`.
    """

    eot_samples = 1

    def __init__(self, victim: Victim, defense: Defense) -> None:
        super().__init__()
        self.victim, self.defense, self.random = victim, defense, defense.random

    @property
    def fingerprint(self) -> str:
        """SHA-256 of victim, defense, number of draws, and stand-in if it is not the default."""
        parts = ["adaptive", self.victim.fingerprint, self.defense.fingerprint, self.eot_samples]
        name = self.defense.stand_in_name
        return digest([*parts, name] if name else parts)

    def _siblings(self) -> Siblings:
        """The bare victim, every stand-in of the defense, and the deployed system."""
        limited = self.defense.stand_in_name  # by the threat, as under `adaptive/bpda`
        found = {limited: self.defense} if limited else stand_ins(self.defense)
        first, *others = found
        views: dict[str, Surrogate] = {first: self}
        views |= {name: self._through(found[name]) for name in others}
        return Siblings(
            VictimSurrogate(self.victim), views, DeployedSurrogate(self.victim, self.defense)
        )

    def _through(self, defense: Defense) -> Surrogate:
        """Return the same surrogate with another stand-in."""
        return DefendedSurrogate(self.victim, defense)

    def forward(self, x: Tensor, seeds: Tensor, taps: Sequence[str] = ()) -> Prediction:
        """One draw of the defense's proxy, with the victim's features."""
        noise = fold_in(seeds, 0)
        if taps:
            return self._draw(x, noise, taps)
        return self.defense.proxy(x, self.victim, seeds=noise)

    def _draw(self, x: Tensor, noise: Tensor, taps: Sequence[str]) -> Prediction:
        if not taps:
            return self.defense.proxy(x, self.victim, seeds=noise)
        with self.victim.tapped(taps) as caught:
            seen = self.defense.proxy(x, self.victim, seeds=noise)
        return replace(seen, features=caught)
