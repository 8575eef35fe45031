"""A plain strong attack on the unmasked twin, apart from the package's own attacks."""

import torch
from torch import Tensor

from tests.support.traps.trap import Trap


def ascend(trap: Trap, *, steps: int, restarts: int, seed: int = 0) -> Tensor:
    """Climb the twin's gain by sign steps that shrink, and keep each image's best point.

    Args:
        trap: defended system with its twin.
        steps: gradient steps per restart.
        restarts: the first starts at the clean image, the others at random.
        seed: seed of the starts.
    """
    x, y, eps = trap.images, trap.labels, trap.eps
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    best, image = torch.full((len(x),), -torch.inf), x.clone()
    starts = torch.Generator().manual_seed(seed)
    for restart in range(restarts):
        point = x.clone()
        if restart:
            point = low + (high - low) * torch.rand(x.shape, generator=starts)
        for step in range(steps + 1):
            point.requires_grad_()
            gain = trap.gain(point, y)
            (grad,) = torch.autograd.grad(gain.sum(), point)
            point, gain = point.detach(), gain.detach()
            better = gain > best
            best, image[better] = torch.where(better, gain, best), point[better]
            size = 2 * eps * (1 - step / (steps + 1)) ** 2
            point = (point + size * grad.sign()).clamp(low, high)
    return image


def soft_least(first: Tensor, second: Tensor, width: float = 0.02) -> Tensor:
    """Return a smooth minimum, whose gradient weighs both where they are close."""
    return -width * torch.stack([-first / width, -second / width]).logsumexp(0)
