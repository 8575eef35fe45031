"""A black-box victim for the training of defenses."""

import torch
from torch import Tensor

from medrobust.model.core.victim import Victim


class BlackBoxVictim:
    """A victim that can only be queried; every query is counted.

    It is no module and has neither weights nor features; its logits carry no graph. A defense that
    is trained on it can therefore be trained for a remote model.

    Attributes:
        queries: number of queried images.

    Args:
        victim: frozen victim; moved to the device of the images.
    """

    def __init__(self, victim: Victim) -> None:
        self.queries = 0

        def answer(x: Tensor) -> Tensor:
            if victim.mean.device != x.device:
                victim.to(x.device)
            with torch.no_grad():
                return victim(x.detach())

        self._answer = answer

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits (N, K) or (N, K, H, W) of images (N, C, H, W) in [0, 1], without a graph.

        Raises:
            ValueError: a value is outside [0, 1].
        """
        if len(x) and not (x.amin() >= 0 and x.amax() <= 1):
            raise ValueError(
                f"a black box takes images in [0, 1], got values from {x.amin():g} to {x.amax():g}"
            )
        self.queries += len(x)
        return self._answer(x)
