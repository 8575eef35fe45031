"""DAG: Dense Adversary Generation, for segmentation and detection."""

from collections.abc import Mapping
from typing import ClassVar

from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.step import StepRule, unit_linf
from medrobust.attack.core.target import Target
from medrobust.attack.criterion.every_anchor import EveryAnchor
from medrobust.attack.criterion.every_pixel import EveryPixel
from medrobust.attack.loss.active_pixels import ActivePixels
from medrobust.task import Task


class DAG(Iterated):
    """Climbs the logit gaps of all pixels (or anchors) that are still right, until none is.

    Xie et al. 2017, "Adversarial Examples for Semantic Segmentation and Object Detection",
    algorithm 1: r_m = sum over active pixels of grad(z_adversarial - z_true),
    x_{m+1} = x_m + gamma * r_m / ||r_m||_inf. The paper has no budget; here each step is
    projected into the L∞ ball, so `eps=1` is the paper's attack. An image leaves the batch by
    itself when it has no right pixel left, or earlier by another `criterion`. What is returned: see
    `Iterated`; the loss says how much is left of the active pixels. What the pixels of a detector
    are: see `ActivePixels`. Segmentation and detection only.

    All active pixels count alike, hopeless ones too. So where the budget is too small to turn
    every pixel, PGD turns more of them; where it is large enough, DAG finishes what PGD leaves.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps, >= 1; the paper takes at most 200.
        step_size: gamma, by which the most sensitive value of an image moves, in pixel units;
            None = min(eps, 10 * eps / steps), since the others move far less; at `8/255` and 200
            steps that is 0.4/255, the paper's is 0.5/255.
        labels: rule of the adversarial class of each pixel in an untargeted attack; None =
            `RandomClass`, the paper's choice. `MostLikely` is stronger.
        target: rule that chooses target classes, which every pixel shall reach; None =
            untargeted.
        criterion: when an image is done; None = no pixel, or no anchor, is right (or every pixel is
            the target).
    """

    criteria: ClassVar[Mapping[Task, type[Criterion]]] = {
        "segmentation": EveryPixel,
        "detection": EveryAnchor,
    }

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        step_size: float | str | None = None,
        labels: Target | None = None,
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        super().__init__(
            eps,
            steps=steps,
            step_size=step_size,
            early_stop=True,
            loss=ActivePixels(labels),
            target=target,
            criterion=criterion,
        )

    def default_step_size(self) -> float:
        """min(eps, 10 * eps / steps)."""
        return min(self.eps, 10 * self.eps / self.steps)

    def step_rule(self) -> StepRule:
        """The gradient, scaled so that its largest value is one."""
        return unit_linf
