"""Comparison of a result on the device with the CPU's."""

import copy
from dataclasses import fields
from typing import TypeVar

import torch
from torch import Tensor, nn

from medrobust.prediction import Prediction

Module = TypeVar("Module", bound=nn.Module)


def moved(module: Module, device: torch.device) -> Module:
    """A copy on the device."""
    return copy.deepcopy(module).to(device)


def check_close(found: Tensor, expected: Tensor, device: torch.device, atol: float = 1e-4) -> None:
    """Check a tensor of the device.

    The fake device has the CPU's bits. A GPU rounds otherwise, and where rounding decides (a class,
    a kink, a vote) a fifth of the numbers may be others.
    """
    assert found.device == device
    if device.type == "fake":
        assert torch.equal(found.cpu(), expected)
        return
    assert found.shape == expected.shape
    near = torch.isclose(
        found.cpu().double(), expected.double(), rtol=1e-2, atol=atol, equal_nan=True
    )
    assert near.double().mean() >= 0.8


def check_prediction(found: Prediction, expected: Prediction, device: torch.device) -> None:
    """All fields of a prediction are on the device and equal the CPU's."""
    for field in fields(Prediction):
        here, there = getattr(found, field.name), getattr(expected, field.name)
        assert (here is None) == (there is None), field.name
        if isinstance(here, Tensor):
            check_close(here, there, device, atol=1e-2)
