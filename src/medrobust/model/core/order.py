"""The modules of a victim in the order of a forward pass."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from medrobust.model.core.victim import Victim

Modules = Sequence[tuple[str, nn.Module]]


def in_order(
    victim: Victim, features: Callable[[Sequence[str]], Mapping[str, Tensor]]
) -> list[tuple[str, nn.Module]]:
    """Return the leaf modules with their names, in the order of a forward pass.

    Args:
        victim: victim of the modules.
        features: runs a forward pass; module names -> their outputs, in the order of the pass.
    """
    modules = dict(victim.network.named_modules())
    parts = [name for name, module in modules.items() if name and not [*module.children()]]
    if not parts:
        return []
    with torch.no_grad():
        return [(name, modules[name]) for name in features(parts)]


def penultimate(modules: Modules) -> str | None:
    """Return the leaf module that feeds the classifier, the deepest features; None without one.

    The classifier is the last module with weights in a forward pass, a linear layer or the last
    convolution of a segmenter. The result is the leaf module before it, such as the global pooling
    of a ResNet.
    """
    weighted = [at for at, (_, module) in enumerate(modules) if [*module.parameters(False)]]
    return modules[weighted[-1] - 1][0] if weighted and weighted[-1] else None
