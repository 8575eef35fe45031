"""PGD in L2: projected gradient descent with normalised gradients."""

from typing import ClassVar

from medrobust.attack.core.ball import Ball, L2Ball
from medrobust.attack.core.step import StepRule, unit_l2
from medrobust.attack.pgd import PGD


class PGDL2(PGD):
    """Normalised-gradient steps inside an L2 ball from a uniformly random start.

    Madry et al. 2018, section 2.1 and appendix on L2-bounded attacks. The norm is taken over all
    pixels and channels of an image. What is returned: see `Iterated`. Arguments as in `PGD`, with
    `eps` an L2 radius and `step_size` None = 2.5 * eps / steps.
    """

    norm = "l2"
    ball: ClassVar[type[Ball]] = L2Ball

    def default_step_size(self) -> float:
        """2.5 * eps / steps."""
        return 2.5 * self.eps / self.steps

    def step_rule(self) -> StepRule:
        """The gradient at length one."""
        return unit_l2
