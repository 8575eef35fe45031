"""The differentiable stand-ins among which an adaptive attacker may choose."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from medrobust.defense.core.base import Defense, Purifier

IDENTITY = "identity"
UNIFORM, MIXED = "exact", "mixed"
"""Names of a default without a purifier, and of one whose parts have several stand-ins."""


def stand_ins(defense: Defense) -> dict[str, Defense]:
    """Return the defense with each of its stand-ins, by name.

    A name applies to all parts that have a stand-in of that name; the others keep their default.
    The copies share all weights and predict the same, bit for bit; only the derivative of `proxy`
    differs. A name that would change nothing, or the same as an earlier one, is left out.

    Args:
        defense: defense; fitted, if it must be.

    Returns:
        Names and defenses. The first is `defense` itself under the name of its default stand-in,
        or `mixed` if no single name stands for it. The others have the name in `stand_in_name`,
        but `identity everywhere` for an identity that replaces exact derivatives, too.
    """
    parts = [part for part in defense.modules() if isinstance(part, Purifier)]
    default = {part: _taken(part) for part in parts}
    found: dict[tuple[str, ...], str] = {}
    for name in dict.fromkeys(name for part in parts for name in part.derivatives()):
        taken = _all_taking(name, default)
        found.setdefault(tuple(taken.values()), name)
    own = found.pop(tuple(default.values()), MIXED if parts else UNIFORM)
    return {own: defense} | {
        name: _made(defense, name, _all_taking(name, default)) for name in found.values()
    }


def with_identity(defense: Defense) -> Defense:
    """Return the defense as an attacker sees it who takes the identity for its approximations.

    Only parts whose derivative is that of an approximation change; those with a derivative of their
    own take that one. The copy shares all weights. A defense without such a part is returned as it
    is.
    """
    return _made(defense, IDENTITY, _bpda(defense))


def _bpda(defense: Defense) -> dict[Purifier, str]:
    """Return the names that `with_identity` takes for each part."""
    found = {}
    for part in defense.modules():
        if isinstance(part, Purifier):
            known = part.derivatives()
            own = [name for name, near in known.items() if near == part.purify]
            found[part] = own[0] if own else IDENTITY if IDENTITY in known else _taken(part)
    return found


def _taken(part: Purifier) -> str:
    return part.chosen or next(iter(part.derivatives()))


def _all_taking(name: str, default: Mapping[Purifier, str]) -> dict[Purifier, str]:
    """Return the name of each part's stand-in if all that have it take `name`."""
    return {part: name if name in part.derivatives() else own for part, own in default.items()}


def _made(defense: Defense, name: str, taken: Mapping[Purifier, str]) -> Defense:
    """Return a copy whose parts take the named stand-ins; the defense itself if none changes."""
    made: Defense = _copied(defense, taken)
    if made is defense:
        return defense
    # The identity instead of exact derivatives is another attack than that of `with_identity`.
    other = name == IDENTITY and dict(taken) != _bpda(defense)
    made.stand_in_name = f"{name} everywhere" if other else name
    return made


def _copied(module: nn.Module, taken: Mapping[Purifier, str]) -> Any:
    children = {
        name: _copied(child, taken) for name, child in module._modules.items() if child is not None
    }
    changed = {name: new for name, new in children.items() if new is not module._modules[name]}
    chosen = taken[module] if isinstance(module, Purifier) else ""
    same = not isinstance(module, Purifier) or chosen == _taken(module)
    if not changed and same:
        return module
    made: Any = copy.copy(module)
    made._modules = {**module._modules, **changed}
    if not same:
        made.chosen = chosen
    return made
