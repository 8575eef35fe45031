"""SMIA: the stabilised medical image attack."""

from dataclasses import replace
from typing import Any, Self, Unpack

import torch
from torch import Tensor

from medrobust.attack.core.iterated import Iterate, Iterated
from medrobust.attack.core.kernel import gaussian_kernel, smooth
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.options import LossClimbOptions
from medrobust.attack.core.step import StepRule
from medrobust.attack.loss.core.disagreement import disagreement
from medrobust.number import fraction, whole
from medrobust.prediction import Prediction
from medrobust.threat.surrogate import Gradient, Surrogate


class SMIA(Iterated):
    """BIM that also keeps the prediction where it is when the perturbation is smoothed.

    Qi et al. 2021, "Stabilized Medical Image Attacks", eq. 1 to 4: the first step climbs the
    deviation L_DEV = L(f(x'), y) alone, later ones L_DEV + alpha * L_STA with
    L_STA = -L(f(x'), f(x + W * (x' - x))), W a Gaussian kernel. L of L_DEV is the loss; that
    of L_STA is the cross-entropy to the smoothed image's class probabilities, averaged over pixels
    where the model segments, binary and per matched anchor where it detects. What is returned:
    see `Iterated`; points are ranked by L_DEV.

    Where the paper is silent: eps bounds the whole perturbation, x' - x is what has accumulated,
    pixels outside the image count as unperturbed, and the smoothed image is cut to [0, 1]. Both
    images of a step see the same noise of a randomized defense. From the second step on it costs
    the passes of two images.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps, >= 1; the first is FGSM's.
        step_size: in pixel units; None = eps / steps, as in BIM.
        alpha: weight of L_STA, >= 0; 0 is BIM.
        kernel_size: side of W in pixels, odd.
        sigma: standard deviation of W in pixels.
        through_smoothed: False takes the smoothed image's prediction for a constant; True also
            sends the gradient of L_STA through it: perturbations of far lower variance, weaker.
        **options: `early_stop`, `target`, `criterion`, `loss`; see `Iterated`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        alpha: float = 1.0,
        kernel_size: int = 3,
        sigma: float = 1.0,
        through_smoothed: bool = False,
        **options: Unpack[LossClimbOptions],
    ) -> None:
        super().__init__(eps, steps=steps, **options)
        self.alpha = fraction(alpha, "attack.alpha", high=1e4)
        size = whole(kernel_size, "attack.kernel_size", low=1)
        sigma = fraction(sigma, "attack.sigma", high=1e4, above=True)
        self.kernel = gaussian_kernel(size, sigma)
        self.through_smoothed = through_smoothed

    def default_step_size(self) -> float:
        """Eps / steps."""
        return self.eps / self.steps

    def step_rule(self) -> StepRule:
        """Sign of the gradient."""
        return _sign

    def gradient(self, surrogate: Surrogate, at: Iterate) -> Gradient:
        """Gradient of eq. 4 at the point; its loss is L_DEV alone."""
        if at.memory is None or self.alpha == 0:
            return super().gradient(surrogate, at)
        point, goal, ball, _, seeds = at
        count = len(point)
        with torch.enable_grad():
            leaf = point.detach().requires_grad_()
            perturbation = smooth(leaf.to(ball.dtype) - ball.centre, self.kernel)
            smoothed = (ball.centre + perturbation).clamp(0, 1).to(point.dtype)
        pair = _Pair(goal.loss, count, self.alpha, self.through_smoothed)
        labels = torch.cat([goal.labels, goal.labels])
        both = replace(goal, loss=pair, labels=labels)
        images = torch.cat([point, smoothed.detach()])
        seen = surrogate.value_and_grad(images, both, seeds=torch.cat([seeds, seeds]))
        (through,) = torch.autograd.grad(smoothed, leaf, seen.grad[count:])
        return Gradient(seen.loss[:count], seen.grad[:count] + through, seen.reached[:count])


def _sign(grad: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the sign, and an empty memory: it marks gradients after the first (None)."""
    return grad.sign(), grad.new_empty(len(grad), 0)


class _Pair(Loss):
    """Loss of a batch of N images followed by their N smoothed copies, or of several such batches.

    The first half carries L_DEV, the second alpha * L_STA, so that their sum is what is climbed.
    """

    def __init__(self, base: Loss, count: int, alpha: float, through: bool) -> None:
        self.base, self.count, self.alpha, self.through = base, count, alpha, through

    @property
    def taps(self) -> tuple[str, ...]:
        return self.base.taps

    def at(self, index: Tensor) -> Self:
        """Select whole batches only, which is how a surrogate repeats them for its draws."""
        base = self.base.at(self._half(index, 0))
        return type(self)(base, self.count, self.alpha, self.through)

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        return self._loss(self.base.away, prediction, y)

    def toward(self, prediction: Prediction, target: Tensor) -> Tensor:
        return self._loss(self.base.toward, prediction, target)

    def _loss(self, rule: Any, prediction: Prediction, y: Tensor) -> Tensor:
        labels = self._half(y, 0)
        point, smoothed = (
            prediction.rows(lambda value, which=which: self._half(value, which))  # type: ignore[misc]
            for which in (0, 1)
        )
        deviation = rule(point, labels)
        wanted = smoothed if self.through else smoothed.rows(Tensor.detach)
        change = disagreement(point, wanted, labels)
        halves = [deviation.view(-1, self.count), -self.alpha * change.view(-1, self.count)]
        return torch.stack(halves, 1).flatten()

    def _half(self, value: Tensor, which: int) -> Tensor:
        """(batches * 2 * N, ...) -> (batches * N, ...)."""
        return value.view(-1, 2, self.count, *value.shape[1:])[:, which].flatten(0, 1)
