"""Base class of every threat."""

from abc import ABC, abstractmethod

from medrobust.configured import Configured
from medrobust.defense.core.base import Defense
from medrobust.model.core.victim import Victim
from medrobust.threat.surrogate import Surrogate


class Threat(Configured, ABC):
    """Turns (victim, defense) into the surrogate, the model that the attacker sees.

    >>> surrogate = Adaptive(eot_samples=16)(victim, defense)
    """

    @abstractmethod
    def __call__(self, victim: Victim, defense: Defense) -> Surrogate:
        """The surrogate of this victim behind this defense."""
