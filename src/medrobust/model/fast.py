"""The same frozen network, faster: batch norms folded, channels-last, convolutions rewritten."""

import copy
import logging

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from medrobust.model.conv import SteadyLinear, rewritten

_log = logging.getLogger(__name__)


def accelerated(network: nn.Module) -> nn.Module:
    """A copy of a frozen network in evaluation mode that computes the same up to rounding.

    A network that cannot be traced keeps its batch norms.

    Args:
        network: in evaluation mode, without gradients on its weights.

    Raises:
        ValueError: the network is in training mode or its weights take gradients.
    """
    if network.training or any(weight.requires_grad for weight in network.parameters()):
        raise ValueError("only a frozen network can be accelerated; call victim.freeze() first")
    plain = copy.deepcopy(network)
    try:
        plain = fuse(plain)
    except (torch.fx.proxy.TraceError, TypeError, ValueError, RuntimeError) as error:
        _log.debug("%s is not fused: %s", type(network).__name__, error)
    plain.eval().requires_grad_(False)
    plain = plain.to(memory_format=torch.channels_last)
    for name, module in list(plain.named_modules()):
        if type(module) is nn.Conv2d:
            plain.set_submodule(name, rewritten(module))
        elif type(module) is nn.Linear:
            plain.set_submodule(name, SteadyLinear(module))
    return plain
