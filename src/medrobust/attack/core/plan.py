"""The members of the strongest attack, from cheap to dear."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from medrobust.attack.apgd import APGD
from medrobust.attack.apgd_t import APGDT
from medrobust.attack.core.base import Attack
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.ranked import Ranked
from medrobust.attack.core.target import Target
from medrobust.attack.joint_pgd import JointPGD
from medrobust.attack.loss.by_task import ByTask
from medrobust.attack.loss.dice import Dice
from medrobust.attack.loss.dlr import DLROrMargin
from medrobust.attack.loss.joint import Joint
from medrobust.attack.loss.margin import Margin
from medrobust.attack.momentum_pgd import MomentumPGD
from medrobust.attack.orthogonal_pgd import OrthogonalPGD
from medrobust.attack.rays import RayS
from medrobust.attack.selective_pgd import SelectivePGD
from medrobust.attack.spsa import SPSA
from medrobust.attack.square import Square
from medrobust.task import Task
from medrobust.threat.surrogate import Siblings, Surrogate


class Effort(NamedTuple):
    """Size of the members' own budgets.

    Attributes:
        steps: gradient steps of a climb.
        restarts: of the first climb on each stand-in.
        targets: wrong classes of the targeted climb.
        ranks: classes that the bare victim is led to.
        queries: of each search.
        searches: of RayS, from one start each.
        draws: responses of a randomized system to each candidate.
    """

    steps: int
    restarts: int
    targets: int
    ranks: int
    queries: int
    searches: int
    draws: int


EFFORTS = {
    "small": Effort(steps=40, restarts=1, targets=2, ranks=2, queries=200, searches=1, draws=8),
    "standard": Effort(
        steps=50, restarts=1, targets=9, ranks=3, queries=1000, searches=3, draws=16
    ),
    "large": Effort(steps=100, restarts=3, targets=9, ranks=10, queries=5000, searches=5, draws=32),
}


class Member(NamedTuple):
    """One attack on one view of the system.

    Attributes:
        name: of stand-in and attack.
        view: what it attacks.
        attack: with its loss.
        warm: it starts at the best image so far instead of its own start.
    """

    name: str
    view: Surrogate
    attack: Attack
    warm: bool = False


class System(NamedTuple):
    """The system, as far as the plan depends on it.

    Attributes:
        siblings: the attacker's views.
        views: by name, those of the stand-ins that give a gradient.
        task: of the labels.
        classes: number of classes K.
        detects: the deployed system scores images and refuses some.
        votes: it answers by the vote of many copies, so that a query costs as many passes.
    """

    siblings: Siblings
    views: dict[str, Surrogate]
    task: Task
    classes: int
    detects: bool
    votes: bool


class Planner:
    """Lists the members for a system.

    Args:
        eps: radius in pixel units.
        norm: `linf` or `l2`.
        effort: one of `EFFORTS`.
    """

    def __init__(self, eps: float, norm: str, effort: Effort) -> None:
        self.eps, self.norm, self.effort = eps, norm, effort

    def members(self, system: System) -> list[Member]:
        """Return the members, from cheap to dear."""
        return list(self._members(system))

    def _members(self, system: System) -> Iterator[Member]:
        views = system.views
        if system.task != "classification":
            yield from self._dense(views, system)
            return
        if system.detects:
            yield from self._evading(views)
        losses: list[Loss] = [Joint()] if system.detects else [ByTask(), DLROrMargin()]
        for loss in losses:
            for name, view in views.items():
                yield self._climb(name, view, loss)
        if not system.detects:
            for name, view in views.items():
                if view.random:
                    yield self._climb(name, view, Margin(kappa=0))
        for name, view in views.items():
            yield self._auto(name, view, losses[-1])
        for name, view in views.items():
            yield self._climb(name, view, losses[-1], warm=True)
        if not system.detects:
            yield from self._targeted(views)
        yield from self._bare(system)
        if system.votes and self.effort != EFFORTS["large"]:
            return
        yield from self._queries(system)

    def _dense(self, views: dict[str, Surrogate], system: System) -> Iterator[Member]:
        losses: list[Loss] = [ByTask()] + ([Dice()] if system.task == "segmentation" else [])
        for loss in losses:
            for name, view in views.items():
                yield self._climb(name, view, loss)
        for name, view in views.items():
            yield self._auto(name, view, ByTask())
        for name, view in views.items():
            yield self._climb(name, view, losses[-1], warm=True)

    def _evading(self, views: dict[str, Surrogate]) -> Iterator[Member]:
        if self.norm != "linf":
            return
        for name, view in views.items():
            for kind in (JointPGD, SelectivePGD, OrthogonalPGD):
                attack = kind(self.eps, steps=self.effort.steps)
                yield Member(f"{name}: {_title(attack)}", view, attack)

    def _climb(
        self,
        name: str,
        view: Surrogate,
        loss: Loss,
        *,
        warm: bool = False,
        target: Target | None = None,
    ) -> Member:
        options: dict[str, Any] = {"steps": self.effort.steps, "loss": loss, "target": target}
        if not warm:
            options["restarts"] = self.effort.restarts
        attack = (
            MomentumPGD(self.eps, step_size=self.eps if warm else None, **options)
            if self.norm == "linf"
            else APGD(self.eps, norm=self.norm, step_size=self.eps if warm else None, **options)
        )
        start = " from the best image" if warm else ""
        return Member(f"{name}: {_title(attack)}, {_title(loss)}{start}", view, attack, warm)

    def _auto(self, name: str, view: Surrogate, loss: Loss) -> Member:
        attack = APGD(self.eps, norm=self.norm, steps=self.effort.steps, loss=loss)
        return Member(f"{name}: APGD, {_title(loss)}", view, attack)

    def _targeted(self, views: dict[str, Surrogate]) -> Iterator[Member]:
        """Yield the targeted climb through the first view, and through all with large effort."""
        chosen = views if self.effort == EFFORTS["large"] else dict(list(views.items())[:1])
        for name, view in chosen.items():
            targets = 2 if view.random and self.effort != EFFORTS["large"] else self.effort.targets
            attack = APGDT(
                self.eps,
                norm=self.norm,
                steps=self.effort.steps,
                targets=targets,
                early_stop=not view.random,
            )
            yield Member(f"{name}: APGD-T", view, attack)

    def _bare(self, system: System) -> Iterator[Member]:
        """Yield climbs of the bare victim toward its likeliest classes, the true one included."""
        bare = system.siblings.bare
        if bare in system.siblings.stand_ins.values() or not bare.differentiable:
            return
        for rank in range(min(system.classes, self.effort.ranks)):
            member = self._climb("bare", bare, ByTask(), target=Ranked(rank))
            yield member._replace(name=f"{member.name} toward class {rank + 1} of its own")

    def _queries(self, system: System) -> Iterator[Member]:
        """Yield searches that ask the deployed system; they raise the judge's own loss."""
        deployed, queries = system.siblings.deployed, self.effort.queries
        if deployed.scored:
            square = Square(self.eps, norm=self.norm, queries=queries)
            yield Member("deployed: Square", deployed, square)
            if self.norm == "linf":
                samples = 16
                steps = max(1, queries // (2 * samples + 1))
                spsa = SPSA(
                    self.eps,
                    steps=steps,
                    samples=samples,
                    delta=self.eps / 2,
                    lr=max(self.eps / 4, 4 * self.eps / steps),
                )
                yield Member("deployed: SPSA", deployed, spsa)
        if self.norm == "linf" and not system.detects:
            for turn in range(self.effort.searches):  # greedy, so another start is worth more
                again = f" {turn + 1}" if turn else ""
                yield Member(f"deployed: RayS{again}", deployed, RayS(self.eps, queries=queries))


def _title(part: Attack | Loss) -> str:
    return type(part).__name__
