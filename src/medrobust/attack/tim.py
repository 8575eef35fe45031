"""TIM: the translation-invariant method, also called TI-MI-FGSM."""

from collections.abc import Callable
from typing import Unpack

from torch import Tensor

from medrobust.attack.core import kernel as kernels
from medrobust.attack.core.iterated import Iterate
from medrobust.attack.core.options import MomentumOptions
from medrobust.attack.dim import DIM
from medrobust.number import whole
from medrobust.threat.surrogate import Gradient, Surrogate


def _gaussian(size: int) -> Tensor:
    """A Gaussian whose radius is three standard deviations: sigma = (size - 1) / 6."""
    return kernels.gaussian_kernel(size, max(size // 2, 1) / 3)


KERNELS: dict[str, Callable[[int], Tensor]] = {
    "gaussian": _gaussian,
    "uniform": kernels.uniform_kernel,
    "linear": kernels.linear_kernel,
}


class TIM(DIM):
    """MIM along smoothed gradients; made to transfer, above all to defended models.

    Dong et al. 2019, "Evading Defenses to Transferable Adversarial Examples by
    Translation-Invariant Attacks", eq. 7 to 9: the gradient is convolved with a kernel W, channel
    by channel, which stands for an average over shifted images; then L1 normalisation, momentum
    and sign as in `MIM`. With `diversity_prob` > 0 it is the paper's TI-DIM, see `DIM`. What is
    returned: see `Iterated`.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        steps: gradient steps, >= 1.
        step_size: in pixel units; None = eps / steps.
        kernel: gaussian (its radius is three standard deviations), uniform or linear.
        kernel_size: height and width of W in pixels, odd; 1 gives MIM. The paper's 15 is for
            images of 299 px.
        resize_rate: see `DIM`.
        diversity_prob: see `DIM`; 0, as in the paper's TIM (torchattacks: 0.5).
        **options: `early_stop`, `target`, `criterion`, `loss`, `decay`; see `MIM`.
    """

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        kernel: str = "gaussian",
        kernel_size: int = 15,
        resize_rate: float = 0.9,
        diversity_prob: float = 0.0,
        **options: Unpack[MomentumOptions],
    ) -> None:
        super().__init__(
            eps, steps=steps, resize_rate=resize_rate, diversity_prob=diversity_prob, **options
        )
        if kernel not in KERNELS:
            raise ValueError(f"attack.kernel={kernel!r}; expected one of {', '.join(KERNELS)}")
        size = whole(kernel_size, "attack.kernel_size", low=1)
        if size % 2 == 0:
            raise ValueError(f"attack.kernel_size={size} has no centre; expected an odd number")
        self.kernel = KERNELS[kernel](size)

    def gradient(self, surrogate: Surrogate, at: Iterate) -> Gradient:
        """The smoothed gradient."""
        seen = super().gradient(surrogate, at)
        return seen._replace(grad=kernels.smooth(seen.grad.to(at.ball.dtype), self.kernel))
