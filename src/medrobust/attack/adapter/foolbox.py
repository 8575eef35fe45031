"""Attacks of foolbox (Rauber et al. 2020)."""

from typing import Any

from torch import Tensor, nn

from medrobust.attack.adapter.library import library
from medrobust.attack.external import imported

foolbox = library("foolbox", "pip install foolbox")


def run(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    attack: str,
    eps: float | None = None,
    **arguments: Any,
) -> Any:
    """Runs one of its classes; returned are the images cut to the budget.

    Args:
        model: images in [0, 1] -> logits.
        images: (N, C, H, W).
        labels: (N,).
        attack: dotted path such as `foolbox.attacks.LinfPGD`.
        eps: budget in the attack's own norm; None for minimum-norm attacks, which then return the
            nearest image that they found.
        arguments: its constructor's (`steps`, `abs_stepsize`, ...).
    """
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device=images.device)
    made = imported(attack, "attack.arguments.attack")(**arguments)
    _, cut, _ = made(wrapped, images, labels, epsilons=eps)
    return cut
