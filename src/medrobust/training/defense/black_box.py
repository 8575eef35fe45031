"""A victim that a defender may only ask."""

import torch
from torch import Tensor

from medrobust.model.core.victim import Victim


class BlackBoxVictim:
    """Images in, answers out, each counted; there is nothing else to be had of the victim.

    It is no module and has neither weights nor features; answers carry no graph. So a defense that
    is trained behind it can be trained for a model that only its owner holds.

    Attributes:
        queries: images that were asked about.

    Args:
        victim: frozen; moved to where the images are.
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
        """Logits (N, K) or (N, K, H, W) of images (N, C, H, W) in [0, 1], without a graph.

        Raises:
            ValueError: values outside [0, 1], which are no image.
        """
        if len(x) and not (x.amin() >= 0 and x.amax() <= 1):
            raise ValueError(
                f"a black box takes images in [0, 1], got values from {x.amin():g} to {x.amax():g}"
            )
        self.queries += len(x)
        return self._answer(x)
