"""The frame of every attack: a final call that checks, around the one method that attacks."""

from abc import ABC, abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor

from medrobust.attack.goal import Goal
from medrobust.attack.objective import CrossEntropy, Objective
from medrobust.attack.success import JaccardBelow, Misclassified, Success
from medrobust.attack.target import Target
from medrobust.number import fraction
from medrobust.settings import Configured
from medrobust.threat.surrogate import Surrogate


class AttackError(RuntimeError):
    """An attack was called wrongly, or returned what it must not."""


class Attack(Configured, ABC):
    """`x_adv = attack(surrogate, x, y, seeds=seeds)`; a new attack writes `perturb` only.

    Args:
        eps: budget in pixel units of [0, 1] images, in the attack's norm; a number or `8/255`.
            None = no budget, for attacks that need none (`needs_eps` False).
        objective: loss to maximise; default cross-entropy.
        target: rule that chooses target classes; None = untargeted.
        success: when an image counts as fooled; default by task (label, or Jaccard < 0.5).
    """

    norm: str = "linf"  # or l2
    needs_eps: ClassVar[bool] = True
    tolerance: ClassVar[float] = 1e-6  # float32 rounding of x + delta, in units of eps or 1

    def __init__(
        self,
        eps: float | str | None,
        *,
        objective: Objective | None = None,
        target: Target | None = None,
        success: Success | None = None,
    ) -> None:
        self.eps: float | None = None
        if eps is not None or self.needs_eps:
            given = "null" if eps is None else eps  # refused, by the name the config has for it
            self.eps = fraction(given, "attack.eps", high=self.largest_eps, above=True)
        self.objective = objective or CrossEntropy()
        self.target = target
        self.success = success

    @property
    def largest_eps(self) -> float:
        """The largest sensible budget: 1 for L∞; an L2 ball may be larger than a pixel."""
        return {"linf": 1.0, "l2": 1e4}[self.norm]

    @abstractmethod
    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """Adversarial images (N, C, H, W) for clean `x`, inside [0, 1] and the budget."""

    @final
    def __call__(self, surrogate: Surrogate, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        """Attack a batch and verify the result.

        Works the same under `torch.no_grad` and inference mode, leaves no gradient on any weight
        and no train/eval flag changed.

        Args:
            surrogate: what the threat lets the attacker see.
            x: clean images (N, C, H, W), floating point in [0, 1].
            y: true labels (N,) or masks (N, H, W), int64.
            seeds: int64 (N,), one per image.

        Returns:
            Adversarial images like `x`. An attack that fails on an image still returns its best
            try; success is counted on the model, never on the return.

        Raises:
            AttackError: bad input, or a result with another shape, outside [0, 1], not finite,
                or over budget.
        """
        self._check_input(x, y, seeds)
        if len(x) == 0:
            return x.clone()
        with torch.inference_mode(False), torch.no_grad():
            x, y = x.detach().clone(), y.clone()
            goal = self._goal(surrogate, x, y, seeds)
            adversarial = self.perturb(surrogate, x, goal, seeds=seeds.clone()).detach()
        self._check_output(x, adversarial)
        return adversarial

    def _goal(self, surrogate: Surrogate, x: Tensor, y: Tensor, seeds: Tensor) -> Goal:
        success = self.success or (Misclassified() if y.ndim == 1 else JaccardBelow())
        if self.target is None:
            return Goal(self.objective, success, y)
        logits = surrogate(x, seeds).logits
        return Goal(self.objective, success, self.target(logits, y, seeds), targeted=True)

    def _check_input(self, x: Tensor, y: Tensor, seeds: Tensor) -> None:
        name = type(self).__name__
        if x.ndim != 4 or not x.is_floating_point():
            raise AttackError(f"{name}: images are {x.dtype} {tuple(x.shape)}, expected float NCHW")
        if y.dtype != torch.int64 or y.ndim not in (1, 3) or len(y) != len(x):
            raise AttackError(
                f"{name}: labels are {y.dtype} {tuple(y.shape)} for {len(x)} images; expected "
                "int64 (N,) or (N, H, W)"
            )
        if seeds.dtype != torch.int64 or seeds.shape != (len(x),):
            raise AttackError(
                f"{name}: seeds are {seeds.dtype} {tuple(seeds.shape)}, expected int64 "
                f"({len(x)},) from medrobust.rng.sample_seeds"
            )
        if len(x) and not (x.amin() >= 0 and x.amax() <= 1):
            raise AttackError(
                f"{name}: clean images span [{x.amin():.4g}, {x.amax():.4g}], expected [0, 1]; "
                "normalisation belongs inside the victim"
            )

    def _check_output(self, x: Tensor, adversarial: Tensor) -> None:
        name = type(self).__name__
        if adversarial.shape != x.shape or adversarial.dtype != x.dtype:
            raise AttackError(
                f"{name} returned {adversarial.dtype} {tuple(adversarial.shape)} for "
                f"{x.dtype} {tuple(x.shape)}"
            )
        finite = adversarial.isfinite().flatten(1).all(dim=1)
        if not finite.all():
            places = (~finite).nonzero().flatten().tolist()
            raise AttackError(
                f"{name} returned NaN or infinity for images {places} of the batch: look at the "
                "surrogate's logits and gradients there"
            )
        if adversarial.amin() < 0 or adversarial.amax() > 1:
            raise AttackError(
                f"{name} left [0, 1]: [{adversarial.amin():.6g}, {adversarial.amax():.6g}]"
            )
        if self.eps is None:
            return
        used = distance(x, adversarial, self.norm)
        allowed = self.eps + self.tolerance * max(1.0, self.eps)
        if (used > allowed).any():
            raise AttackError(
                f"{name} broke its budget: {self.norm} {used.max():.8g} > eps {self.eps:.8g}"
                f" for images {(used > allowed).nonzero().flatten().tolist()} of the batch"
            )


def distance(x: Tensor, other: Tensor, norm: str) -> Tensor:
    """Distance per image (N,), `linf` or `l2`, in float64."""
    order = {"linf": torch.inf, "l2": 2.0}[norm]
    return torch.linalg.vector_norm((other.double() - x.double()).flatten(1), ord=order, dim=1)
