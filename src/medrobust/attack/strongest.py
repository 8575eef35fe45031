"""The strongest attack on a defended system: an ensemble for whatever defends it."""

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.board import Board
from medrobust.attack.core.crafted import Crafted
from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.judging import Judging
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.norm import known_norm
from medrobust.attack.core.plan import EFFORTS, Member, Planner, System
from medrobust.attack.core.query import CERTAIN
from medrobust.attack.core.target import Target
from medrobust.attack.criterion.undetected import Undetected
from medrobust.attack.loss.by_task import ByTask
from medrobust.attack.loss.dice import Dice
from medrobust.attack.loss.joint import Joint
from medrobust.attack.loss.margin import Margin
from medrobust.defense.core.base import StandInError
from medrobust.prediction import Prediction
from medrobust.rng import fold_in
from medrobust.task import task_of
from medrobust.threat.surrogate import Surrogate

_VOTES = 2
"""Responses of a vote to each candidate: its copies average the noise already."""


class Strongest(Judging, Attack):
    """Stand-ins × losses × schedules × starts, then queries: the best image of all, per image.

    In the spirit of AutoAttack (Croce and Hein 2020), for any defense: deterministic, randomized,
    voting, detecting, refusing. It attacks every view that the threat gives of the system
    (`Surrogate.siblings`) and knows none of the defenses behind them:

    1. the clean image, and the very image that this attack makes of the bare victim, so that an
       adaptive attacker is never weaker than an oblivious one;
    2. for a detector, climbs past classifier and detector at once;
    3. on each stand-in, momentum PGD on cross-entropy and on DLR, and APGD; then momentum PGD from
       the best image so far, whatever made it;
    4. APGD toward one wrong class after another;
    5. the bare victim toward its likeliest classes, the true one included: behind a defense that
       answers otherwise, any change of its answer may be the way;
    6. queries of the deployed system: Square, SPSA and RayS; of a vote with large effort only.

    Each result is judged on the system as deployed, with the attacker's own draws (`Board`), under
    `quantize` after rounding, and an image that is fooled leaves. Where the system has no
    gradients, under `threat=blackbox`, only the queries are run; there are none on masks and boxes,
    where every member attacks every image.

    An image that a detector accepts must be wrong, too: there the criterion is `Undetected`.

    Args:
        eps: radius in pixel units of [0, 1] images; a number or `8/255`.
        norm: `linf` or `l2`.
        effort: `small`, `standard` or `large`; see `EFFORTS`.
        target: must be None: away from the true class.
        criterion: when an image counts as fooled; None = by task, and past a detector.
    """

    needs_gradient: ClassVar[bool] = False
    uses_siblings: ClassVar[bool] = True
    eps: float

    def __init__(
        self,
        eps: float | str,
        *,
        norm: str = "linf",
        effort: str = "standard",
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        if target is not None:
            raise ValueError(
                f"attack.target={type(target).__name__}: the strongest attack leads away from the "
                "true class; set attack/target=null, or a targeted attack such as attack=pgd"
            )
        if effort not in EFFORTS:
            raise ValueError(f"attack.effort={effort!r}, expected one of {', '.join(EFFORTS)}")
        self.norm = known_norm(norm)
        super().__init__(eps, criterion=criterion)
        self.effort = effort
        self.planner = Planner(self.eps, norm, EFFORTS[effort])

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Crafted:
        """Run the members and return the best image of each image, and who made it.

        Raises:
            AttackError: there are none: no gradients, and no search that the answers allow.
        """
        system = self._system(surrogate, x, goal, seeds)
        siblings, members = system.siblings, self.planner.members(system)
        if not (members or siblings.bare.differentiable):
            raise AttackError(
                f"Strongest has no member for {system.task}, norm {self.norm} and what "
                f"{type(surrogate).__name__} answers: set threat=adaptive, or for labels of "
                "classes attack.norm=linf"
            )
        board = self._board(system, x, goal, seeds)
        everyone = torch.arange(len(x), device=x.device)
        board.offer(everyone, self.handed_over(x, x), 0)
        if siblings.bare is not surrogate and siblings.bare.differentiable:
            rows = board.standing
            if len(rows):
                made = self.perturb(siblings.bare, x[rows], goal.at(rows), seeds=seeds[rows])
                board.offer(rows, made.images, 1)  # handed over already
        for number, member in enumerate(members, start=2):
            rows = board.standing
            if len(rows) == 0:
                break
            noise = fold_in(seeds[rows], number)
            aim = self._aim(member, board, goal, x, rows, noise)
            tried = member.attack.perturb(member.view, x[rows], aim, seeds=noise)
            board.offer(rows, self.handed_over(x[rows], _images(tried)), number)
        fooled = board.share > 0
        return Crafted(board.image, member=board.member.masked_fill(~fooled, -1))

    def members(self, surrogate: Surrogate, x: Tensor, y: Tensor, seeds: Tensor) -> tuple[str, ...]:
        """Return the names of the members by number, for a batch of this kind."""
        goal = Goal(ByTask(), self.criteria[task_of(y)](), y)
        with torch.no_grad():
            system = self._system(surrogate, x, goal, seeds)
        names = (member.name for member in self.planner.members(system))
        return ("clean image", "oblivious image", *names)

    def _system(self, surrogate: Surrogate, x: Tensor, goal: Goal, seeds: Tensor) -> System:
        siblings = surrogate.siblings
        seen = siblings.deployed(x[:1], seeds[:1])
        views = {
            name: view
            for name, view in siblings.stand_ins.items()
            if gives_gradient(view, x[:1], seeds[:1], needed=view is surrogate)
        }
        return System(
            siblings=siblings,
            views=views,
            task=task_of(goal.labels),
            classes=seen.logits.shape[1],
            detects=detects(seen),
            votes=getattr(siblings.deployed, "votes", False),
        )

    def _board(self, system: System, x: Tensor, goal: Goal, seeds: Tensor) -> Board:
        """Judge by the deployed system: how, depends on task and system."""
        criterion: Criterion = goal.criterion
        loss: Loss = Margin()
        if system.task == "segmentation":
            loss = Dice()
        elif system.task == "detection":
            loss = ByTask()
        elif system.detects:
            criterion = criterion if self.criterion is not None else Undetected(criterion)
            loss = Joint()
            for view in system.views.values():
                loss = loss.bind(view, x, goal.labels, seeds, targeted=False)
                break
        draws, certain = EFFORTS[self.effort].draws, CERTAIN
        if system.votes:
            draws = certain = _VOTES
        return Board(
            system.siblings.deployed,
            x,
            replace(goal, loss=loss, criterion=criterion),
            fold_in(seeds, 0),
            draws=draws,
            certain=certain,
            settles=system.task == "classification",
        )

    def _aim(
        self, member: Member, board: Board, goal: Goal, x: Tensor, rows: Tensor, seeds: Tensor
    ) -> Goal:
        """Return the member's own loss, bound to its view, and the judge's for queries."""
        aim = board.goal.at(rows)
        if not member.view.differentiable:  # the judge's loss is of answers only
            return aim
        target, labels = member.attack.target, aim.labels
        if target is not None:  # of the bare victim, which has no detector
            aim = replace(aim, criterion=goal.criterion)
            labels = target(member.view(x[rows], seeds).logits, labels, seeds)
        targeted = target is not None
        loss = member.attack.loss.bind(member.view, x[rows], labels, seeds, targeted=targeted)
        start = board.image[rows] if member.warm else None
        return replace(aim, loss=loss, labels=labels, targeted=targeted, start=start)


def detects(seen: Prediction) -> bool:
    """Return whether an answer says that a detector of attacks looked at the image."""
    return seen.score is not None and seen.threshold is not None


def gives_gradient(view: Surrogate, x: Tensor, seeds: Tensor, *, needed: bool = False) -> bool:
    """Return whether a gradient reaches an image (1, C, H, W); it may be zero.

    An identity that stands for a change of shape gives none.

    Raises:
        StandInError: that of a view which is `needed`.
    """
    if not view.differentiable:
        return False
    try:
        with torch.enable_grad():
            return view(x.detach().requires_grad_(), seeds).logits.requires_grad
    except StandInError:
        if needed:
            raise
        return False


def _images(made: Tensor | Crafted) -> Tensor:
    return made.images if isinstance(made, Crafted) else made
