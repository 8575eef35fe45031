"""Any network in memory as a victim."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medrobust.fingerprint import digest_tensors
from medrobust.model.core.builder import built_by, described
from medrobust.model.core.error import VictimError
from medrobust.model.core.frozen import frozen_eval
from medrobust.model.core.victim import Victim
from medrobust.task import Task, task_of

_EXPECTED: dict[Task, str] = {
    "classification": "logits (N, K)",
    "segmentation": "logits (N, K, H, W) of the images' size",
    "detection": "a medrobust.Victim with anchors",
}
_PROBED = 8
_APART = 1e-3
"""Logits of an image that differ by more, relative to the largest, depend on chance or batch."""


def as_victim(model: nn.Module, x: Tensor, y: Tensor, *, probe: bool = False) -> Victim:
    """Return a network as a victim that shares its weights and flags.

    The network is tried on the first images. With `probe` its answers become part of the victim's
    fingerprint: hooks, plain attributes and unregistered tensors, which no list of weights holds,
    change them. A victim that a builder of this package made is returned as it is.

    Args:
        model: victim, or network that maps images (N, C, H, W) in [0, 1] to logits (N, K) or
            (N, K, H, W); normalisation is inside it.
        x: images to try it on, on the network's device.
        y: their labels, as for `task_of`.
        probe: make the answers part of the fingerprint, and refuse a network that answers an image
            otherwise the second time or in another batch.

    Raises:
        VictimError: the network is on another device, fails, answers anything but the logits of
            this task, or does not pass the probe.
        ValueError: the labels are of no task.
    """
    check_module(model)
    name = type(model).__name__
    place = next((weight.device for weight in model.parameters()), x.device)
    if place != x.device:
        raise VictimError(f"the images are on {x.device}, {name} is on {place}; move one of them")
    if isinstance(model, Victim) and built_by(model.architecture) is not None:
        return model
    task, images = task_of(y), x[:_PROBED].clone()
    with frozen_eval(model), torch.no_grad():
        found = _answer(model, images)
        if not isinstance(model, Victim) or model.anchors is None:
            _check_answer(found, task, images, name)
        if probe:
            _check_steady(model, images, found, name)
    seen = {"probe": digest_tensors({"images": images, "logits": found.float()})} if probe else {}
    if isinstance(model, Victim):
        scaling: Mapping[str, Any] = {
            "mean": model.mean.flatten().tolist(),
            "std": model.std.flatten().tolist(),
        }
        known = {**model.architecture, **seen}
        return Victim(model.network, **scaling, architecture=known, anchors=model.anchors)
    channels = x.shape[1]
    architecture = {**described(model), **seen}
    return Victim(model, mean=[0.0] * channels, std=[1.0] * channels, architecture=architecture)


def check_module(model: object) -> None:
    """Raise `VictimError` if a model is no `torch.nn.Module`, such as a function."""
    if isinstance(model, type) or not isinstance(model, nn.Module):
        what = f"class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise VictimError(
            f"the model is a {what}, expected an object of torch.nn.Module; wrap it in a module "
            "whose `forward` calls it"
        )


def _answer(model: nn.Module, images: Tensor) -> Tensor:
    try:
        found: Tensor = model(images.clone())
    except Exception as error:
        raise VictimError(
            f"{type(model).__name__} fails on {images.dtype} images {tuple(images.shape)}: {error}"
        ) from error
    return found


def _check_answer(found: object, task: Task, images: Tensor, name: str) -> None:
    if isinstance(found, Tensor) and found.is_floating_point() and len(found) == len(images):
        if task == "segmentation" and found.ndim == 4 and found.shape[2:] == images.shape[2:]:
            return
        if task == "classification" and found.ndim == 2:
            return
    what = type(found).__name__
    if isinstance(found, Tensor):
        what = f"{found.dtype} {tuple(found.shape)}"
    raise VictimError(
        f"{name} answers {what} to images {tuple(images.shape)}, expected {_EXPECTED[task]}; wrap "
        "it in a module that returns its logits"
    )


def _check_steady(model: nn.Module, images: Tensor, found: Tensor, name: str) -> None:
    """Raise if an image's answer depends on chance, or on the other images of its batch."""
    scale = found.abs().amax().clamp(min=1)
    for again, when in (
        (_answer(model, images), "when it is asked again"),
        (torch.cat([_answer(model, one[None]) for one in images]), "in a batch of its own"),
    ):
        if not ((again - found).abs().amax() <= _APART * scale):
            raise VictimError(
                f"{name} answers an image otherwise {when}, also in evaluation mode: an attack on "
                "it has no fixed target; make it deterministic, or put its noise into a Defense"
            )
