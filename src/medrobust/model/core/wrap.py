"""Any network in memory as a victim."""

import torch
from torch import Tensor, nn

from medrobust.model.core.error import VictimError
from medrobust.model.core.frozen import frozen_eval
from medrobust.model.core.victim import Victim
from medrobust.task import Task, task_of

_EXPECTED: dict[Task, str] = {
    "classification": "logits (N, K)",
    "segmentation": "logits (N, K, H, W) of the images' size",
    "detection": "a medrobust.Victim with anchors",
}


def as_victim(model: nn.Module, x: Tensor, y: Tensor) -> Victim:
    """Return a network as a victim; a victim is returned as it is.

    The victim shares the network's weights and flags. Its normalisation is the identity.

    Args:
        model: victim, or network that maps images (N, C, H, W) in [0, 1] to logits (N, K) or
            (N, K, H, W); normalisation is inside it.
        x: images to try it on, on the network's device.
        y: their labels, as for `task_of`.

    Raises:
        VictimError: the network is on another device, fails, or answers anything but the logits of
            this task.
        ValueError: the labels are of no task.
    """
    name = type(model).__name__
    place = next((weight.device for weight in model.parameters()), x.device)
    if place != x.device:
        raise VictimError(f"the images are on {x.device}, {name} is on {place}; move one of them")
    if isinstance(model, Victim):
        return model
    task, images = task_of(y), x[:2]
    try:
        with frozen_eval(model), torch.no_grad():
            found = model(images)
    except Exception as error:
        raise VictimError(f"{name} fails on images {tuple(images.shape)}: {error}") from error
    if not _fits(found, task, images):
        what = tuple(found.shape) if isinstance(found, Tensor) else f"a {type(found).__name__}"
        raise VictimError(
            f"{name} answers {what} to images {tuple(images.shape)}, expected {_EXPECTED[task]}; "
            "wrap it in a module that returns its logits"
        )
    channels = x.shape[1]
    return Victim(model, mean=[0.0] * channels, std=[1.0] * channels)


def _fits(found: object, task: Task, images: Tensor) -> bool:
    if not isinstance(found, Tensor) or len(found) != len(images):
        return False
    if task == "segmentation":
        return found.ndim == 4 and found.shape[2:] == images.shape[2:]
    return task == "classification" and found.ndim == 2
