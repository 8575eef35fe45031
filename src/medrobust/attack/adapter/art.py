"""Evasion attacks of the Adversarial Robustness Toolbox (Nicolae et al. 2018)."""

from typing import Any

import torch
from torch import Tensor, nn

from medrobust.attack.adapter.library import library
from medrobust.attack.external import imported

library("art", "pip install adversarial-robustness-toolbox")


def run(model: nn.Module, images: Tensor, labels: Tensor, *, attack: str, **arguments: Any) -> Any:
    """Runs one of its classes on its `PyTorchClassifier`.

    Args:
        model: images in [0, 1] -> logits.
        images: (N, C, H, W).
        labels: (N,).
        attack: dotted path such as `art.attacks.evasion.ProjectedGradientDescent`.
        arguments: its constructor's (`eps`, `eps_step`, `max_iter`, `verbose`, ...).
    """
    from art.estimators.classification import PyTorchClassifier  # slow to import

    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    wrapped = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(),
        input_shape=tuple(images.shape[1:]),
        nb_classes=classes,
        clip_values=(0.0, 1.0),
        device_type="cpu" if images.device.type == "cpu" else "gpu",
    )
    # Given as vectors, since two classes given as numbers are read in more than one way.
    vectors = nn.functional.one_hot(labels, classes).cpu().numpy()
    made = imported(attack, "attack.arguments.attack")(wrapped, **arguments)
    return torch.from_numpy(made.generate(images.cpu().numpy(), vectors))
