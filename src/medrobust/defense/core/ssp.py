"""Self-supervised perturbation, the feature-space attack that NRP is trained on."""

from collections.abc import Callable

import torch
from torch import Tensor


def perturb(
    features: Callable[[Tensor], Tensor],
    x: Tensor,
    start: Tensor,
    *,
    eps: float,
    step: float,
    steps: int,
) -> Tensor:
    """Maximise the features' mean squared distance from the clean ones (Naseer et al. 2020).

    Args:
        features: images -> features (N, ...).
        x: clean images (N, C, H, W) in [0, 1].
        start: random start like `x`, in units of `eps`, in [-1, 1]; the distance has no gradient
            at the clean image itself.
        eps: L∞ budget.
        step: step size.
        steps: number of gradient steps.

    Returns:
        Adversarial images in [0, 1], without gradient.
    """
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    with torch.no_grad():
        clean = features(x)
    adversarial = torch.clamp(x + eps * start, low, high).detach()
    for _ in range(steps):
        with torch.enable_grad():
            adversarial.requires_grad_()
            distance = (features(adversarial) - clean).square().flatten(1).mean(dim=1).sum()
            (gradient,) = torch.autograd.grad(distance, adversarial)
        adversarial = torch.clamp(adversarial.detach() + step * gradient.sign(), low, high)
    return adversarial
