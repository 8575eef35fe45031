"""Orthogonal PGD: selective PGD whose steps leave the other margin alone, to first order."""

from torch import Tensor

from medrobust.attack.core.ball import Ball
from medrobust.attack.core.evading import Evading, per_image
from medrobust.attack.core.step import unit_l2
from medrobust.threat.surrogate import Gradient


class OrthogonalPGD(Evading):
    """`SelectivePGD` with each gradient orthogonal to the other one.

    Bryniarski et al. 2022, the orthogonal attack: while the answer is right the step is along
    grad f - proj_{grad g} grad f, else along grad g - proj_{grad f} grad g, with f the classifier's
    margin and g the detector's. The sign that an L∞ step takes undoes some of the orthogonality,
    in the authors' code as here.

    Cost, arguments and what is returned: see `Evading`.
    """

    def combine(self, answer: Gradient, hiding: Gradient, point: Tensor, ball: Ball) -> Tensor:
        """The gradient of the margin that is in turn, orthogonal to the other."""
        first, second = unit_l2(answer.grad, None)[0], unit_l2(hiding.grad, None)[0]
        shared = per_image((first * second).flatten(1).sum(1))
        turn = per_image(answer.loss <= 0)
        return (first - shared * second).where(turn, second - shared * first)
