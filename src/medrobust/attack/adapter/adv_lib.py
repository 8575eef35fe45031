"""Attacks of adv-lib, the adversarial library of Rony and Ben Ayed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from medrobust.attack.adapter.library import library
from medrobust.attack.external import imported


@contextmanager
def _without_visdom() -> Iterator[None]:
    """Lets adv-lib be imported where visdom is absent.

    It imports visdom, a plotting server that no longer builds, at its top, and uses it only when
    it is given a logger. An empty module stands in during the import and is gone afterwards, so
    that nobody else finds it.
    """
    if "visdom" in sys.modules or find_spec("visdom") is not None:
        yield
        return
    sys.modules["visdom"] = ModuleType("visdom")
    try:
        yield
    finally:
        del sys.modules["visdom"]


with _without_visdom():
    library("adv_lib", "pip install --no-deps adv-lib  # it needs visdom, which does not build")
    attacks = import_module("adv_lib.attacks")
    segmentation = import_module("adv_lib.attacks.segmentation")


def run(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    attack: str,
    eps: float | None = None,
    **arguments: Any,
) -> Any:
    """Runs one of its functions.

    Args:
        model: images in [0, 1] -> logits.
        images: (N, C, H, W).
        labels: (N,), or masks (N, H, W) for `adv_lib.attacks.segmentation`.
        attack: dotted path such as `adv_lib.attacks.pgd_linf`.
        eps: its argument `ε`, where it takes one.
        arguments: its others (`steps`, `restarts`, `γ`, ...).
    """
    budget = {} if eps is None else {"ε": eps}
    function = imported(attack, "attack.arguments.attack")
    return function(model, images, labels, **budget, **arguments)
