"""Base class of every attack: a final call that checks, around the one method that attacks."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn

from medrobust.attack.core.crafted import Crafted
from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.goal import Aimed, Goal
from medrobust.attack.core.loss import Loss
from medrobust.attack.core.norm import distance
from medrobust.attack.core.target import Target
from medrobust.attack.criterion.by_task import BY_TASK
from medrobust.attack.criterion.undetected import Undetected
from medrobust.attack.loss.by_task import ByTask
from medrobust.configured import Configured
from medrobust.model.core.frozen import UnfrozenError, check_frozen, frozen_eval
from medrobust.model.core.wrap import as_victim
from medrobust.number import fraction
from medrobust.task import LabelError, Task, check_tensors, task_of
from medrobust.threat.surrogate import Surrogate, VictimSurrogate


class AttackError(RuntimeError):
    """An attack was called wrongly, or returned what it must not."""


class Attack(Configured, ABC):
    """The base class of attacks; a new attack writes `perturb` only.

        >>> PGD(eps="8/255", steps=20)(model, images, labels)

    What it cannot do it says in class attributes, and is then refused before anything runs:
    `needs_eps` (a budget), `needs_gradient` (a differentiable surrogate), `dense` (False: labels
    per image only, no masks or boxes), `criteria` (what counts as a success, by task).
    `fills_budget` False: it searches for the nearest image, so that unused budget is no weakness.
    `uses_siblings` True: it attacks every view that the threat gives of the system.
    `single_draw` True: it judges success from a single stochastic forward pass. On a randomized
    defense that keeps lucky draws, and the row is flagged.

    Args:
        eps: budget in pixel units of [0, 1] images, in the attack's norm; a number or `8/255`.
            None = no budget, for attacks that need none (`needs_eps` False).
        loss: loss to maximise; default by task: cross-entropy, or a detector's own loss.
        target: rule that chooses target classes; None = untargeted, as it must be for boxes.
        criterion: when an image counts as fooled; default by task (label, Jaccard < 0.5, or fewer
            than half of the boxes found), and with a loss that aims past a detector
            (`evades`) only where that accepts it.
    """

    norm: str = "linf"  # or l2
    needs_eps: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = True
    dense: ClassVar[bool] = True
    fills_budget: ClassVar[bool] = True
    single_draw: bool = False
    uses_siblings: ClassVar[bool] = False
    criteria: ClassVar[Mapping[Task, type[Criterion]]] = BY_TASK
    tolerance: ClassVar[float] = 1e-6  # float32 rounding of x + delta, in units of eps or 1

    def __init__(
        self,
        eps: float | str | None,
        *,
        loss: Loss | None = None,
        target: Target | None = None,
        criterion: Criterion | None = None,
    ) -> None:
        self.eps: float | None = None
        if eps is not None or self.needs_eps:
            given = "null" if eps is None else eps  # refused, by the name the config has for it
            self.eps = fraction(given, "attack.eps", high=self.largest_eps, above=True)
        self.loss = loss or ByTask()
        self.target = target
        self.criterion = criterion

    @property
    def largest_eps(self) -> float:
        """The largest sensible budget: 1 for L∞; an L2 ball may be larger than a pixel."""
        return {"linf": 1.0, "l2": 1e4}[self.norm]

    @property
    def fools(self) -> bool:
        """Tell whether it aims at wrong answers, by its loss and its criterion."""
        return self.loss.fools and (self.criterion is None or self.criterion.fools)

    @property
    def settings(self) -> dict[str, Any]:
        """Class, arguments, and the norm of the budget."""
        return super().settings | {"norm": self.norm}

    @property
    def learns(self) -> bool:
        """It must see training data (`fit`) before it attacks."""
        return self.loss.learns

    def fit(self, surrogate: Surrogate, data: Any) -> None:
        """Learn from the training split of `data`, a datamodule; nothing for most.

        The same surrogate, settings and data give the same result.

        Raises:
            AttackError: the surrogate is in training mode.
        """
        self._check_frozen(surrogate)
        with torch.inference_mode(False), torch.no_grad():
            self.loss.fit(surrogate, data)

    @abstractmethod
    def perturb(
        self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor
    ) -> Tensor | Crafted:
        """Adversarial images (N, C, H, W) for clean `x`, inside [0, 1] and the budget."""

    @final
    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, seeds: Tensor | None = None
    ) -> Tensor:
        """Attack a batch, as `craft` does, and return the adversarial images.

        Args:
            model: surrogate, or any network of logits; attacked in evaluation mode, left as it was.
            x: clean images (N, C, H, W), floating point in [0, 1].
            y: true labels; see `craft`.
            seeds: int64 (N,), one per image; by default its index.

        Raises:
            TypeError: images, labels or seeds are no tensors.
            AttackError: see `craft`.
            VictimError: the model answers no logits.
        """
        check_tensors(type(self).__name__, images=x, labels=y, seeds=seeds)
        seeds = torch.arange(len(x), device=x.device) if seeds is None else seeds
        if isinstance(model, Surrogate):
            return self.craft(model, x, y, seeds=seeds).images
        if x.ndim != 4:
            raise AttackError(f"{type(self).__name__}: images are {tuple(x.shape)}, expected NCHW")
        self._check_task(y, len(x))
        with torch.inference_mode(False):
            x, y, seeds = x.clone(), y.clone(), seeds.clone()
            victim = as_victim(model, x, y)
        with frozen_eval(victim):
            return self.craft(VictimSurrogate(victim), x, y, seeds=seeds).images

    @final
    def craft(self, surrogate: Surrogate, x: Tensor, y: Tensor, *, seeds: Tensor) -> Crafted:
        """Attack a batch and verify the result.

        Works the same under `torch.no_grad` and inference mode, leaves no gradient on any weight
        and no train/eval flag changed.

        Args:
            surrogate: what the threat lets the attacker see.
            x: clean images (N, C, H, W), floating point in [0, 1].
            y: true labels (N,) or masks (N, H, W), int64; or boxes (N, M, 5), see `task_of`.
            seeds: int64 (N,), one per image.

        Returns:
            Adversarial images like `x`, and the queries of a black-box attack. An attack that
            fails on an image still returns a try of its own; success is counted on the model,
            never on the return.

        Raises:
            AttackError: bad input, labels that are no classes of the model, a surrogate in training
                mode, a surrogate or task that the attack is not defined for, or a result with
                another shape, outside [0, 1], not finite, or over budget.
        """
        self._check_input(surrogate, x, y, seeds)
        if len(x) == 0:
            return Crafted(x.clone())
        with torch.inference_mode(False), torch.no_grad():
            x, y = x.detach().clone(), y.clone()
            try:
                goal = self._goal(surrogate, x, y, seeds)
                assert goal.aimed is not None
                with goal.aimed.watching(surrogate):
                    made = self.perturb(surrogate, x, goal, seeds=seeds.clone())
            except LabelError as error:
                raise AttackError(f"{type(self).__name__}: {error}") from None
        crafted = made if isinstance(made, Crafted) else Crafted(made)
        crafted = crafted._replace(images=crafted.images.detach())
        self._check_output(x, crafted.images)
        return crafted

    def members(self, surrogate: Surrogate, x: Tensor, y: Tensor, seeds: Tensor) -> tuple[str, ...]:
        """Names of the attacks of an ensemble, which `Crafted.member` counts; () for others."""
        return ()

    def _goal(self, surrogate: Surrogate, x: Tensor, y: Tensor, seeds: Tensor) -> Goal:
        criterion = self.criterion
        if criterion is None:
            criterion = self.criteria[task_of(y)]()
            criterion = Undetected(criterion) if self.loss.evades else criterion
        targeted = self.target is not None
        aimed = Aimed.at(y)
        with aimed.watching(surrogate):
            labels = self.target(surrogate(x, seeds).logits, y, seeds) if self.target else y
            bound = self.loss.bind(surrogate, x, labels, seeds, targeted=targeted)
        return Goal(bound, criterion, labels, targeted=targeted, aimed=aimed)

    def _check_frozen(self, surrogate: Surrogate) -> None:
        try:
            check_frozen(surrogate, type(self).__name__)
        except UnfrozenError as error:
            raise AttackError(str(error)) from None

    def _check_input(self, surrogate: Surrogate, x: Tensor, y: Tensor, seeds: Tensor) -> None:
        name = type(self).__name__
        self._check_frozen(surrogate)
        if self.needs_gradient and not surrogate.differentiable:
            raise AttackError(
                f"{name} needs gradients and {type(surrogate).__name__} gives none: set "
                "threat=oblivious, transfer or adaptive, or attack=square, spsa or rays"
            )
        if x.ndim != 4 or not x.is_floating_point():
            raise AttackError(f"{name}: images are {x.dtype} {tuple(x.shape)}, expected float NCHW")
        self._check_task(y, len(x))
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

    def _check_task(self, y: Tensor, count: int) -> None:
        name = type(self).__name__
        try:
            task = task_of(y)
        except ValueError as error:
            raise AttackError(f"{name}: {error}") from None
        if len(y) != count:
            raise AttackError(f"{name}: labels {tuple(y.shape)} for {count} images")
        if not self.dense and task != "classification":
            raise AttackError(
                f"{name} is defined for one label per image, this task is {task} with labels "
                f"{tuple(y.shape)}: use a gradient attack such as attack=pgd or attack=dag"
            )
        if task not in self.loss.tasks or task not in self.criteria:
            raise AttackError(
                f"{name} with {type(self.loss).__name__} is defined for "
                f"{' and '.join(t for t in self.loss.tasks if t in self.criteria)}, this task"
                f" is {task}: leave attack.loss at null or set attack/loss=retinanet, or "
                "use another attack such as attack=pgd"
            )
        if self.target is not None and task == "detection":
            raise AttackError(
                f"{name}: attack/target={type(self.target).__name__} chooses a class per image or "
                "pixel, this task has boxes: set attack/target=null"
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
                f"{name} returned NaN or infinity for images {places} of the batch: check the "
                "surrogate's logits and gradients there"
            )
        if adversarial.amin() < 0 or adversarial.amax() > 1:
            raise AttackError(
                f"{name} left [0, 1]: [{adversarial.amin():.6g}, {adversarial.amax():.6g}]"
            )
        if self.eps is None:
            return
        beyond = ~self.in_budget(x, adversarial)
        if beyond.any():
            used = distance(x, adversarial, self.norm)
            raise AttackError(
                f"{name} broke its budget: {self.norm} {used.max():.8g} > eps {self.eps:.8g}"
                f" for images {beyond.nonzero().flatten().tolist()} of the batch"
            )

    def in_budget(self, x: Tensor, image: Tensor) -> Tensor:
        """Return which images keep to the budget, bool (N,); all do where there is none."""
        if self.eps is None:
            return torch.ones(len(image), dtype=torch.bool, device=image.device)
        allowed = self.eps + self.tolerance * max(1.0, self.eps)
        return distance(x, image, self.norm) <= allowed
