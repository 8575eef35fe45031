"""How a result on the device compares with the CPU's."""

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
    """A tensor is on the device; the fake device has the CPU's bits, a GPU rounds otherwise."""
    assert found.device == device
    if device.type == "fake":
        assert torch.equal(found.cpu(), expected)
    else:
        torch.testing.assert_close(found.cpu(), expected, atol=atol, rtol=1e-3)


def check_prediction(found: Prediction, expected: Prediction, device: torch.device) -> None:
    """All fields of a prediction are on the device and equal the CPU's."""
    for field in fields(Prediction):
        here, there = getattr(found, field.name), getattr(expected, field.name)
        assert (here is None) == (there is None), field.name
        if isinstance(here, Tensor):
            if device.type != "fake" and not here.is_floating_point():
                assert (here.cpu() == there).float().mean() > 0.8
                continue
            check_close(here, there, device)
