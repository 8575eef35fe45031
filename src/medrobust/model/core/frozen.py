"""Check for models in training mode, whose answers depend on the batch and on chance."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from medrobust.model.core.victim import Victim

_BY_MODE = (_BatchNorm, _InstanceNorm, _DropoutNd)


class UnfrozenError(RuntimeError):
    """Raised when a model that should be deployed is in training mode."""


@contextmanager
def frozen_eval(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode and frozen weights inside the context, as when attacked.

    Batch norm uses its running statistics without an update and dropout is off, as in the reference
    code of TRADES and MART. All flags are restored afterwards, also after an error.
    """
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(weight, weight.requires_grad) for weight in model.parameters()]
    model.eval()
    model.requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for weight, wanted in gradients:
            weight.requires_grad_(wanted)


def check_frozen(module: nn.Module, caller: str) -> None:
    """Check that a module is in evaluation mode where that affects its answers.

    Every part of a victim is checked. Outside victims, only modules whose output depends on the
    mode are: batch norm, which uses and updates batch statistics, and dropout, which draws from
    torch's global generator.

    Args:
        module: a victim, a surrogate or a defense.
        caller: caller that needs its answers, for the error.

    Raises:
        UnfrozenError: a part is in training mode; names it.
    """
    part = _in_training(module)
    if part is not None:
        raise UnfrozenError(
            f"{caller}: {part} is in training mode, where batch norm and dropout vary, "
            "expected evaluation mode: call victim.freeze(), or eval() on other modules"
        )


def _in_training(module: nn.Module) -> str | None:
    """Return the name of a part in training mode, or None."""
    for name, part in module.named_modules():
        if isinstance(part, Victim):
            inside = next((inner for inner, one in part.named_modules() if one.training), None)
            if inside is not None:
                return ".".join(filter(None, (name, inside))) or type(part).__name__
        elif part.training and isinstance(part, (*_BY_MODE, *_of_torchvision())):
            return name or type(part).__name__
    return None


def _of_torchvision() -> tuple[type[nn.Module], ...]:
    """Return the layer of torchvision that draws in training mode, if any can exist yet."""
    if "torchvision.ops" not in sys.modules:
        return ()
    from torchvision.ops import StochasticDepth

    return (StochasticDepth,)
