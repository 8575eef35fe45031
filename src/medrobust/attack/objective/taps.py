"""Which modules of a victim an objective looks at when the config names none."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medrobust.model.victim import Victim

if TYPE_CHECKING:
    from medrobust.threat.surrogate import Surrogate

_ACTIVATIONS = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU),
    *(nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardtanh, nn.Softplus, nn.Tanh),
)  # sigmoids are left out: they gate channels


def given(taps: Sequence[str] | None) -> tuple[str, ...]:
    """The names of a config's `taps`; none for null.

    Raises:
        ValueError: one bare name, or an empty list.
    """
    if isinstance(taps, str) or (taps is not None and len(taps) == 0):
        raise ValueError(
            f"attack.objective.taps={taps!r}; expected a list of module names such as [layer4], "
            "or null for the default"
        )
    return () if taps is None else tuple(taps)


def victim_of(surrogate: "Surrogate") -> Victim:
    """The victim inside a surrogate.

    Raises:
        ValueError: there is none.
    """
    for module in surrogate.modules():
        if isinstance(module, Victim):
            return module
    raise ValueError(
        f"{type(surrogate).__name__} holds no victim whose features could be seen: set "
        "threat=oblivious, transfer or adaptive"
    )


def penultimate(surrogate: "Surrogate", x: Tensor, seeds: Tensor) -> tuple[str, ...]:
    """The module that feeds the classifier: the deepest features.

    The classifier is the last module with weights that a forward pass runs through, a linear layer
    or the last convolution of a segmenter; its forerunner among the modules without parts is the
    answer, such as the global pooling of a ResNet.

    Args:
        surrogate: what the attacker sees.
        x: images (N, C, H, W); the first is shown to the model.
        seeds: int64 (N,).

    Raises:
        ValueError: nothing runs before the classifier.
    """
    order = _in_order(surrogate, x, seeds)
    weighted = [at for at, (_, module) in enumerate(order) if [*module.parameters(False)]]
    if not weighted or weighted[-1] == 0:
        raise ValueError(_nothing(surrogate, "before the classifier"))
    return (order[weighted[-1] - 1][0],)


def activations(surrogate: "Surrogate", x: Tensor, seeds: Tensor) -> tuple[str, ...]:
    """All activation modules that a forward pass runs through, in order; args as `penultimate`.

    Raises:
        ValueError: there are none.
    """
    order = _in_order(surrogate, x, seeds)
    names = tuple(name for name, module in order if isinstance(module, _ACTIVATIONS))
    if not names:
        raise ValueError(_nothing(surrogate, "an activation"))
    return names


def _in_order(surrogate: "Surrogate", x: Tensor, seeds: Tensor) -> list[tuple[str, nn.Module]]:
    """Modules without parts, in the order in which they are first run."""
    modules = dict(victim_of(surrogate).network.named_modules())
    parts = [name for name, module in modules.items() if name and not [*module.children()]]
    if not parts:
        return []
    with torch.no_grad():
        seen = surrogate(x[:1], seeds[:1], parts).features
    return [(name, modules[name]) for name in seen]


def _nothing(surrogate: "Surrogate", what: str) -> str:
    return (
        f"attack.objective.taps=null, but no module of the victim is {what}; name the modules to "
        f"look at, out of {victim_of(surrogate).taps}"
    )
