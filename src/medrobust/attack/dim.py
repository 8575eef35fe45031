"""DIM: momentum with diverse inputs, also called M-DI²-FGSM."""

from dataclasses import replace
from typing import Unpack

import torch

from medrobust.attack.core.iterated import Iterate
from medrobust.attack.core.options import MomentumOptions
from medrobust.attack.core.transform import draw_window, shrink, shrink_boxes
from medrobust.attack.mim import MIM
from medrobust.number import NumberError, fraction
from medrobust.rng import fold_in
from medrobust.task import task_of
from medrobust.threat.surrogate import Gradient, Surrogate


class DIM(MIM):
    """MIM whose gradient is taken at a randomly shrunk and padded image; made to transfer.

    Xie et al. 2019, "Improving Transferability of Adversarial Examples with Input Diversity",
    section 3.3: g_{t+1} = mu * g_t + grad L(T(x_t; p)) / ||grad L(T(x_t; p))||_1, where T resizes
    by nearest neighbour and pads with zeros with probability p, and is the identity otherwise.

    The paper enlarges 299 px images into 330 px; here, as in torchattacks, the image shrinks into
    a canvas of its own size, so that every network takes it. Each image draws its own size and
    place at each step. A mask moves along with its image, with class 0 around it. Only the last
    point is judged (with early stop each one), on the image as it is; see `Iterated`.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps, >= 1.
        step_size: in pixel units; None = eps / steps.
        resize_rate: smallest size, as a share of the image's own, in (0, 1).
        diversity_prob: p, in [0, 1]; 0 gives MIM.
        **options: `early_stop`, `target`, `criterion`, `loss`, `decay`; see `MIM`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        resize_rate: float = 0.9,
        diversity_prob: float = 0.5,
        **options: Unpack[MomentumOptions],
    ) -> None:
        super().__init__(eps, steps=steps, **options)
        self.resize_rate = fraction(resize_rate, "attack.resize_rate", high=100.0, above=True)
        if self.resize_rate >= 1:
            raise NumberError(
                f"attack.resize_rate={resize_rate} is out of range; expected a number in (0, 1): "
                "an image keeps its size, and enlarging it by r to resize it back is 1 / r"
            )
        self.diversity_prob = fraction(diversity_prob, "attack.diversity_prob")
        self.gradient_at_point = self.diversity_prob == 0

    def gradient(self, surrogate: Surrogate, at: Iterate) -> Gradient:
        """The gradient at the transformed image, carried back through the transform."""
        if self.diversity_prob == 0:
            return super().gradient(surrogate, at)
        window = draw_window(
            fold_in(at.seeds, 1),
            *at.point.shape[2:],
            rate=self.resize_rate,
            probability=self.diversity_prob,
        )
        goal, task = at.goal, task_of(at.goal.labels)
        if task == "segmentation":
            goal = replace(goal, labels=shrink(goal.labels, window))
        elif task == "detection":
            canvas = (at.point.shape[2], at.point.shape[3])
            goal = replace(goal, labels=shrink_boxes(goal.labels, window, canvas))
        with torch.enable_grad():
            leaf = at.point.detach().requires_grad_()
            moved = shrink(leaf, window)
        seen = surrogate.value_and_grad(moved.detach(), goal, seeds=fold_in(at.seeds, 0))
        (grad,) = torch.autograd.grad(moved, leaf, seen.grad)
        return seen._replace(grad=grad)
