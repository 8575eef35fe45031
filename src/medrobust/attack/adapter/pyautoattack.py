"""AutoAttack as its authors wrote it, from pyautoattack."""

import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medrobust.attack.adapter.library import library

pyautoattack = library("pyautoattack", "pip install pyautoattack")


def run(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    eps: float,
    norm: str = "Linf",
    version: str = "standard",
    attacks: Sequence[str] | None = None,
    queries: int = 5000,
) -> Tensor:
    """Croce and Hein 2020, "Reliable evaluation of adversarial robustness with an ensemble".

    Theirs aims at nine target classes and fails with an index error where there are fewer; here
    it aims at as many as there are.

    Args:
        model: images in [0, 1] -> logits.
        images: (N, C, H, W).
        labels: (N,).
        eps: budget in the norm.
        norm: `Linf`, `L2` or `L1`.
        version: `standard`, `plus`, `rand`, or `custom` with `attacks`.
        attacks: of `apgd-ce apgd-dlr apgd-t fab fab-t square`; only with `custom`.
        queries: of Square.

    Raises:
        ValueError: an attack is chosen that is not defined for so few classes.
    """
    attacker = pyautoattack.AutoAttack(
        model,
        norm=norm,
        eps=eps,
        version=version,
        attacks=None if attacks is None else list(attacks),
        seed=torch.initial_seed() % 2**31,  # that of the caller; without one it takes the time
        device=images.device,
    )
    with torch.no_grad():
        classes = model(images[:1]).shape[1]
    for name, least in (("apgd-t", 4), ("apgd-dlr", 3)):
        if name in attacker.attacks_to_run and classes < least:
            raise ValueError(
                f"{name} of pyautoattack needs {least} classes, the model has {classes}: set "
                "attack.arguments.version=custom and "
                "attack.arguments.attacks=[apgd-ce,fab-t,square], or use attack=autoattack"
            )
    for targeted in (attacker.apgd_targeted, attacker.fab):
        targeted.n_target_classes = min(targeted.n_target_classes, classes - 1)
    attacker.square.n_queries = queries
    tracer = sys.gettrace()
    try:
        return attacker.run_standard_evaluation(images, labels, batch_size=len(images))[0]
    finally:
        sys.settrace(tracer)  # its check for dynamic models takes a debugger's or coverage's away
