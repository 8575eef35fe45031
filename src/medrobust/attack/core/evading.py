"""Base class of attacks on a classifier and a detector at once, with a gradient of each."""

from abc import abstractmethod
from typing import ClassVar, Unpack

from torch import Tensor

from medrobust.attack.core.ball import Ball
from medrobust.attack.core.iterated import Iterate
from medrobust.attack.core.options import RestartOptions
from medrobust.attack.core.step import StepRule, sign
from medrobust.attack.loss.joint import Joint
from medrobust.attack.pgd import PGD
from medrobust.threat.surrogate import Gradient, Surrogate


class Evading(PGD):
    """PGD in L∞ that sees at each step how to fool the classifier and how to pass the detector.

    Kept is, per image, the point that ranks best by (wrong and undetected, joint margin), over all
    steps and restarts; see `Iterated` and `Joint`. Noise of a randomized defense is averaged by the
    surrogate (`threat.eot_samples`). A subclass says how the two gradients make one step.

    Steps shrink linearly, from `step_size` to a tenth of it: near the two boundaries a long step
    past one falls back behind the other.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps per restart, >= 1; each a forward and two backward passes.
        step_size: the first step in pixel units; None = min(eps, 4 * eps / steps).
        **options: `early_stop`, `target`, `criterion`, `restarts`; see `Iterated`.
    """

    dense: ClassVar[bool] = False

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        **options: Unpack[RestartOptions],
    ) -> None:
        super().__init__(eps, steps=steps, loss=Joint(), **options)

    def default_step_size(self) -> float:
        """min(eps, 4 * eps / steps): shrinking steps still cross the ball twice."""
        return min(self.eps, 4 * self.eps / self.steps)

    def size_at(self, step: int) -> float:
        """Linear, from `step_size` to a tenth of it."""
        return self.step_size * (1 - 0.9 * step / max(self.steps - 1, 1))

    def step_rule(self) -> StepRule:
        """Sign of what `combine` gives."""
        return sign

    def gradient(self, surrogate: Surrogate, at: Iterate) -> Gradient:
        """Both margins and gradients at the point, made one."""
        point, goal, ball, _, seeds = at
        assert isinstance(goal.loss, Joint)
        answer, hiding = surrogate.values_and_grads(point, goal.loss.halves(goal), seeds=seeds)
        answer, hiding = _wide(answer, ball), _wide(hiding, ball)
        grad = self.combine(answer, hiding, point.to(ball.dtype), ball)
        return Gradient(answer.loss.minimum(hiding.loss), grad, answer.reached)

    @abstractmethod
    def combine(self, answer: Gradient, hiding: Gradient, point: Tensor, ball: Ball) -> Tensor:
        """Return what the step rule takes, (N, C, H, W): here a gradient whose sign is the step.

        Args:
            answer: margin of the answer, in pixel units, positive = fooled; and its gradient.
            hiding: margin of the detector, positive = accepted; and its gradient.
            point: where the images stand.
            ball: where they may go.
        """


def _wide(seen: Gradient, ball: Ball) -> Gradient:
    return seen._replace(loss=seen.loss.to(ball.dtype), grad=seen.grad.to(ball.dtype))


def per_image(values: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)
