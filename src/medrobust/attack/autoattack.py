"""AutoAttack: several unlike attacks in turn, each on what the ones before left standing."""

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from medrobust.attack.apgd_ce import APGDCE
from medrobust.attack.apgd_dlr import APGDDLR
from medrobust.attack.apgd_t import APGDT
from medrobust.attack.core.base import Attack
from medrobust.attack.core.best import Best
from medrobust.attack.core.crafted import Crafted
from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.norm import known_norm
from medrobust.attack.core.target import Target
from medrobust.attack.fab import FAB
from medrobust.attack.fab_t import FABT
from medrobust.attack.square import Square
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Surrogate


class AutoAttack(Attack):
    """The ensemble of Croce and Hein 2020, section 6, with the settings of the authors' code.

    An image is robust if no component fools it. Versions:

    - `standard`: APGD-CE, APGD-T, FAB-T, Square.
    - `plus`: APGD-CE, APGD-DLR and FAB with five restarts each, Square, APGD-T, FAB-T.
    - `rand`: APGD-CE and APGD-DLR, for randomized defenses. The average over noise is the threat's:
      set `threat.eot_samples=20` for the authors' setting. Here both attack every image to their
      last step, unlike the authors' code, where an image leaves as soon as one draw of the noise
      fools
      it: by luck, and against another draw it stands.

    Works for any number of classes: the targeted components try min(`targets`, K - 1) of them, and
    a margin stands in where DLR is undefined (see `APGDT`, `APGDDLR`). The queries of Square are
    not counted: the other components have gradients.

    Returned is the clean image where it is wrong already; the first component's image that fools
    the surrogate, as it crossed the boundary; and for images that withstand to the end the best try
    of the first component. Of `rand`: what fools it with the highest loss of the first component,
    of the clean image and each component's best, all judged under the same noise.

    Args:
        eps: radius in pixel units of [0, 1] images; a number or `8/255`.
        norm: `linf` or `l2`.
        version: `standard`, `plus` or `rand`.
        steps: gradient steps of each run of APGD and FAB, >= 1.
        targets: wrong classes that APGD-T and FAB-T try, >= 1.
        queries: of Square, >= 1.
        target: must be None: an ensemble of attacks away from the true class.
        criterion: when an image counts as fooled; None = another class.
    """

    dense: ClassVar[bool] = False

    def __init__(
        self,
        eps: float | str,
        *,
        norm: str = "linf",
        version: str = "standard",
        steps: int = 100,
        targets: int = 9,
        queries: int = 5000,
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        if target is not None:
            raise ValueError(
                f"attack.target={type(target).__name__}: AutoAttack leads away from the true "
                "class; set attack/target=null, or a targeted attack such as attack=apgd_dlr"
            )
        self.norm = known_norm(norm)
        super().__init__(eps, criterion=criterion)
        white: dict[str, Any] = {"norm": norm, "steps": steps, "early_stop": True}
        aimed, patient = white | {"targets": targets}, white | {"early_stop": False}
        square = Square(eps, norm=norm, queries=queries)
        versions: dict[str, tuple[Attack, ...]] = {
            "standard": (APGDCE(eps, **white), APGDT(eps, **aimed), FABT(eps, **aimed), square),
            "plus": (
                APGDCE(eps, restarts=5, **white),
                APGDDLR(eps, restarts=5, **white),
                FAB(eps, restarts=5, **white),
                square,
                APGDT(eps, **aimed),
                FABT(eps, **aimed),
            ),
            "rand": (APGDCE(eps, **patient), APGDDLR(eps, **patient)),
        }
        if version not in versions:
            raise ValueError(f"attack.version={version!r}, expected one of {', '.join(versions)}")
        self.components = versions[version]
        self.version = version
        self.single_draw = version != "rand"

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """Run the components."""
        every = self._all if self.version == "rand" else self._in_turn
        return every(surrogate, x, goal, seeds=seeds)

    def _all(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """Each on every image; the strongest of what they made."""
        best, rows = Best(x), torch.arange(len(x), device=x.device)
        judge, noise = replace(goal, loss=self.components[0].loss), fold_in(seeds, 0)
        best.offer(rows, x, *surrogate.value(x, judge, seeds=noise))
        for number, component in enumerate(self.components, start=1):
            aim = replace(goal, loss=component.loss)
            tried = _images(component.perturb(surrogate, x, aim, seeds=fold_in(seeds, number)))
            best.offer(rows, tried, *surrogate.value(tried, judge, seeds=noise))
        return best.image

    def _in_turn(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """Each on the images that still stand."""
        found = x.clone()
        _, reached = surrogate.value(x, goal, seeds=fold_in(seeds, 0))
        rows = (~reached).nonzero().flatten()
        for number, component in enumerate(self.components):
            if len(rows) == 0:
                break
            standing, noise = x[rows], fold_in(seeds[rows], 2 * number + 1)
            aim = replace(goal, loss=component.loss).at(rows)
            tried = _images(component.perturb(surrogate, standing, aim, seeds=noise))
            noise = fold_in(seeds[rows], 2 * number + 2)
            _, reached = surrogate.value(tried, aim, seeds=noise)
            kept = rows if number == 0 else rows[reached]
            found[kept] = tried if number == 0 else tried[reached]
            rows = rows[~reached]
        return found


def _images(made: Tensor | Crafted) -> Tensor:
    return made.images if isinstance(made, Crafted) else made
