"""Step rules: the direction in which an iterated attack moves, given a gradient.

A rule is called with the gradient and its own memory of earlier steps (None at the start of a
climb), and returns the direction and the new memory. Memory is a tensor with one row per image,
so that the loop can drop images from a batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from medrobust.attack.core.ball import norm

StepRule = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor | None]]


def sign(grad: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Steepest ascent in L∞ (Goodfellow et al. 2015); a pixel without gradient stays."""
    return grad.sign(), None


def unit_l2(grad: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Steepest ascent in L2: the gradient at length one; an image without gradient stays."""
    grad = grad / _floor(norm(grad, torch.inf))  # so that squares cannot underflow
    return grad / _floor(norm(grad)), None


def unit_linf(grad: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The gradient with its largest value at one (Xie et al. 2017); without gradient, none."""
    return grad / _floor(norm(grad, torch.inf)), None


class Momentum:
    """Sign of an accumulated, L1-normalised gradient (Dong et al. 2018, eq. 6 and 7).

    Args:
        decay: weight mu of the past, >= 0.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, grad: Tensor, memory: Tensor | None) -> tuple[Tensor, Tensor]:
        """Direction, and the accumulated gradient."""
        fresh = grad / _floor(norm(grad, 1))
        memory = fresh if memory is None else self.decay * memory + fresh
        return memory.sign(), memory


def _floor(size: Tensor) -> Tensor:
    return size.clamp(min=torch.finfo(size.dtype).tiny)
