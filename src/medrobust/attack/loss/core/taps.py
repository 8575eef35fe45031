"""Default modules of a victim whose outputs a loss reads."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from medrobust.model.core import order
from medrobust.model.core.victim import Victim

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
            f"attack.loss.taps={taps!r}; expected a list of module names such as [layer4], "
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
    """The module that feeds the classifier: the deepest features, see `order.penultimate`.

    Args:
        surrogate: what the attacker sees.
        x: images (N, C, H, W); the first is shown to the model.
        seeds: int64 (N,).

    Raises:
        ValueError: nothing runs before the classifier.
    """
    found = order.penultimate(_in_order(surrogate, x, seeds))
    if found is None:
        raise ValueError(_nothing(surrogate, "before the classifier"))
    return (found,)


def activations(surrogate: "Surrogate", x: Tensor, seeds: Tensor) -> tuple[str, ...]:
    """All activation modules that a forward pass runs through, in order; args as `penultimate`.

    Raises:
        ValueError: there are none.
    """
    run = _in_order(surrogate, x, seeds)
    names = tuple(name for name, module in run if isinstance(module, _ACTIVATIONS))
    if not names:
        raise ValueError(_nothing(surrogate, "an activation"))
    return names


def _in_order(surrogate: "Surrogate", x: Tensor, seeds: Tensor) -> list[tuple[str, nn.Module]]:
    def features(parts: Sequence[str]) -> Mapping[str, Tensor]:
        return surrogate(x[:1], seeds[:1], parts).features  # type: ignore[no-any-return]

    return order.in_order(victim_of(surrogate), features)


def _nothing(surrogate: "Surrogate", what: str) -> str:
    return (
        f"attack.loss.taps=null, but no module of the victim is {what}; name the modules to "
        f"read, out of {victim_of(surrogate).taps}"
    )
