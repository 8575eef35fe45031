"""Attacks of torchattacks (Kim 2020)."""

from typing import Any

from torch import Tensor, nn

from medrobust.attack.adapter.library import library
from medrobust.attack.external import imported

library("torchattacks", "pip install --no-deps torchattacks  # it pins an old requests")


def run(model: nn.Module, images: Tensor, labels: Tensor, *, attack: str, **arguments: Any) -> Any:
    """Runs one of its classes.

    Args:
        model: images in [0, 1] -> logits.
        images: (N, C, H, W).
        labels: (N,).
        attack: dotted path such as `torchattacks.PGD`.
        arguments: its constructor's (`eps`, `alpha`, `steps`, ...).
    """
    return imported(attack, "attack.arguments.attack")(model, **arguments)(images, labels)
