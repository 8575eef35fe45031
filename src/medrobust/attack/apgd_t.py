"""APGD-T: Auto-PGD toward one wrong class after another."""

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from medrobust.attack.apgd import APGD
from medrobust.attack.core.best import Best
from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.target import Target
from medrobust.attack.loss.dlr import DLROrMargin, at_least_single, targeted_scale
from medrobust.number import whole
from medrobust.prediction import Prediction
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Surrogate


class APGDT(APGD):
    """`APGD` on the targeted DLR, once for each of the most likely wrong classes.

    Croce and Hein 2020, "Reliable Evaluation of Adversarial Robustness", section 4. Untargeted all
    the same: any wrong answer is a success. With three classes or fewer, where the targeted DLR
    has no denominator, its numerator is maximised: target logit - true logit. What is returned:
    see `APGD`; with `early_stop` an image is not tried on further classes either.

    Args:
        eps: radius in pixel units of [0, 1] images; a number or `8/255`.
        norm: `linf` or `l2`.
        steps: gradient steps per class and restart, >= 1.
        targets: classes tried, most likely first by the clean image's logits, >= 1; never more
            than there are wrong ones.
        step_size: the first step, in pixel units; None = 2 * eps.
        rho: share of rising steps up to which a step size counts as too large.
        momentum: weight of a new step against the last one, in (0, 1].
        restarts: independent random starts per class, >= 1.
        early_stop: see `Iterated`; here it saves most.
        target: must be None: the attack chooses the classes itself.
        criterion: when an image counts as fooled; None = another class.
    """

    dense: ClassVar[bool] = False

    def __init__(
        self,
        eps: float | str,
        *,
        steps: int,
        norm: str = "linf",
        targets: int = 9,
        step_size: float | str | None = None,
        rho: float = 0.75,
        momentum: float = 0.75,
        restarts: int = 1,
        early_stop: bool = False,
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        if target is not None:
            raise ValueError(
                f"attack.target={type(target).__name__}: APGDT tries several classes of its own; "
                "set attack/target=null, or for one class attack=apgd_dlr"
            )
        super().__init__(
            eps,
            steps=steps,
            norm=norm,
            step_size=step_size,
            rho=rho,
            momentum=momentum,
            restarts=restarts,
            early_stop=early_stop,
            criterion=criterion,
        )
        self.targets = whole(targets, "attack.targets", low=1)

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """Climb once per class and restart and return the best points."""
        best = Best(x)
        rows = torch.arange(len(x), device=x.device)
        targets = likeliest_wrong(surrogate(x, seeds).logits, goal.labels, self.targets)
        climbs = [target for target in targets for _ in range(self.restarts)]
        for number, target in enumerate(climbs):
            if self.early_stop and number:
                rows = (~best.reached).nonzero().flatten()
            if len(rows):
                aimed = replace(goal, loss=LeadOf(target))
                self._climb(surrogate, x, aimed, rows, fold_in(seeds, number), best)
        return self._defined(best)


class LeadOf(DLROrMargin):
    """Untargeted, yet aimed: how far a class of each image is ahead of the true one.

    Args:
        rival: the class, int64 (N,).
    """

    def __init__(self, rival: Tensor) -> None:
        self.rival = rival

    def at(self, index: Tensor) -> "LeadOf":
        """The same for some of the images."""
        return LeadOf(self.rival[index])

    def away(self, prediction: Prediction, y: Tensor) -> Tensor:
        """(rival logit - true logit) / (z_(1) - (z_(3) + z_(4)) / 2); up to three classes / 1."""
        logits = at_least_single(prediction.logits)
        rival, own = (logits.gather(1, label[:, None])[:, 0] for label in (self.rival, y))
        return (rival - own) / targeted_scale(logits) if logits.shape[1] >= 4 else rival - own


def likeliest_wrong(logits: Tensor, y: Tensor, count: int) -> Tensor:
    """The `count` classes with the largest logits beside the true one, or all there are.

    Args:
        logits: (N, K).
        y: true classes, int64 (N,).
        count: >= 1.

    Returns:
        int64 (min(count, K - 1), N), the most likely first.

    Raises:
        ValueError: the model has one logit only.
    """
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(f"a wrong class needs two classes, the model has {classes} logit")
    wrong = logits.scatter(1, y[:, None], -torch.inf)
    return wrong.topk(min(count, classes - 1), dim=1).indices.T
