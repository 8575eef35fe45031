"""Acceleration of a frozen network: folded batch norms, channels-last, rewritten convolutions."""

import copy
import logging
from collections import Counter
from collections.abc import Iterator

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from medrobust.model.core.conv import SteadyLinear, rewritten

_log = logging.getLogger(__name__)


class Folded(nn.Identity):
    """A placeholder for a convolution that is folded into its batch norm."""


def accelerated(network: nn.Module) -> nn.Module:
    """Return an accelerated copy of a frozen network, equal up to rounding.

    Every module keeps its name and its output, except `Folded` ones. A network that cannot be
    traced keeps its batch norms.

    Args:
        network: network in evaluation mode, without gradients on its weights.

    Raises:
        ValueError: the network is in training mode or its weights take gradients.
    """
    if network.training or any(weight.requires_grad for weight in network.parameters()):
        raise ValueError("only a frozen network can be accelerated; call victim.freeze() first")
    fast = copy.deepcopy(network)
    for conv, norm in list(_pairs(fast)):
        first, second = fast.get_submodule(conv), fast.get_submodule(norm)
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.BatchNorm2d)
        fast.set_submodule(norm, fuse_conv_bn_eval(first, second))
        fast.set_submodule(conv, Folded())
    fast.eval().requires_grad_(False)
    fast = fast.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    whole = nn.Sequential(fast)  # so that a network of a single layer has a name, too
    for name, module in list(whole.named_modules()):
        if type(module) is nn.Conv2d:
            whole.set_submodule(name, rewritten(module))
        elif type(module) is nn.Linear:
            whole.set_submodule(name, SteadyLinear(module))
    return whole[0]


def _pairs(network: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of convolutions and of the batch norms that alone consume their outputs."""
    try:
        graph = fx.Tracer().trace(network)
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError) as error:
        _log.debug("%s is not fused: %s", type(network).__name__, error)
        return
    modules = dict(network.named_modules())
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    for node in graph.nodes:
        if node.op != "call_module" or type(modules[node.target]) is not nn.BatchNorm2d:
            continue
        before = node.args[0]
        if before.op != "call_module" or type(modules[before.target]) is not nn.Conv2d:
            continue
        conv, norm = before.target, node.target
        # With another parent, the convolution's output could be that of an enclosing module.
        beside = conv.rpartition(".")[0] == norm.rpartition(".")[0]
        alone = len(before.users) == 1 and calls[conv] == calls[norm] == 1
        if beside and alone and modules[norm].track_running_stats:
            yield conv, norm
