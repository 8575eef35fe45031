"""The model that the attacker can differentiate."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from medrobust.configured import Code, Computes, all_code, digests
from medrobust.fingerprint import digest
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.threat.aim import Aim


class Gradient(NamedTuple):
    """Loss, gradient and success at one point.

    Attributes:
        loss: (N,) the goal's loss at `x`.
        grad: like `x`, the gradient of each image's own loss.
        reached: bool (N,), whether `x` already reaches the goal on the surrogate.
    """

    loss: Tensor
    grad: Tensor
    reached: Tensor


@dataclass(frozen=True)
class Siblings:
    """Views that one attacker has of the system that it attacks.

    Attributes:
        bare: the victim without its defense.
        stand_ins: by name, the surrogates that an attack may differentiate, the surrogate itself
            first. They give equal predictions with other derivatives, or average other things.
        deployed: the system as it will answer, without gradients. It is asked with the attacker's
            seeds, so that an attacker never sees the defender's draws.
    """

    bare: "Surrogate"
    stand_ins: "Mapping[str, Surrogate]"
    deployed: "Surrogate"

    @property
    def every(self) -> "tuple[Surrogate, ...]":
        """All views, each once."""
        return tuple(dict.fromkeys((self.bare, *self.stand_ins.values(), self.deployed)))


class Surrogate(nn.Module, ABC):
    """Model that a threat lets the attacker query and differentiate.

    Every call takes the images' seeds, so that a randomized surrogate gives an image the same noise
    in any batch. An attack folds its own step number into them when it wants fresh noise.

    `differentiable` False: a black box, for query attacks. `exact` False: `value_and_grad` runs in
    reduced precision and its `reached` is a guess; `value` and `forward` decide. `scored` False:
    the logits tell the class and nothing else. `random` True: other seeds, other answers, so that
    what fooled it once may not fool it again.
    """

    differentiable: bool = True
    exact: bool = True
    scored: bool = True
    random: bool = False
    _nan: list[Tensor] | None = None
    _watcher: "Watcher | None" = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a subclass that would neither be watched nor checked for NaN gradients."""
        super().__init_subclass__(**kwargs)
        for name in ("value", "value_and_grad", "values_and_grads", "logits_and_grads"):
            if name in vars(cls):
                raise TypeError(f"{cls.__name__}.{name} is final; override _{name} instead")

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 of everything but code that an attack's result can depend on."""

    @property
    def computed_by(self) -> tuple[Code, ...]:
        """The code that it computes with: its class, the victim's and the defense's."""
        parts = [part for part in self.children() if isinstance(part, Computes)]
        return all_code(type(self), *parts)

    @final
    @property
    def identity(self) -> str:
        """SHA-256 of the fingerprint and of the code: what an attack's result depends on."""
        return digest([self.fingerprint, digests(self.computed_by)])

    @final
    @property
    def siblings(self) -> Siblings:
        """The attacker's views of the system, with a common watcher and record of NaN."""
        found = self._siblings()
        for one in found.every:
            one._nan, one._watcher = self._nan, self._watcher
        return found

    def _siblings(self) -> Siblings:
        """Return the views; a surrogate that is all that the attacker has is each of them."""
        return Siblings(self, {"itself": self}, self)

    @abstractmethod
    def forward(self, x: Tensor, seeds: Tensor, taps: Sequence[str] = ()) -> Prediction:
        """Differentiable prediction of images (N, C, H, W) in [0, 1]; seeds int64 (N,).

        With `taps`, the prediction carries the outputs of the victim's modules of these names.
        """

    @final
    def value(self, x: Tensor, goal: Aim, *, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (N,) and success bool (N,), as `value_and_grad` gives them, without the gradient."""
        loss, reached = self._value(x, goal, seeds=seeds)
        if self._watcher is not None:
            self._watcher(self, x, goal, loss, reached)
        return loss, reached

    @final
    def value_and_grad(self, x: Tensor, goal: Aim, *, seeds: Tensor) -> Gradient:
        """Return loss, input gradient and success from one forward and one backward pass.

        Weights get no gradient and no graph survives the call.

        Args:
            x: images (N, C, H, W) in [0, 1].
            goal: loss and criterion of the attack.
            seeds: int64 (N,).

        Raises:
            RuntimeError: no gradient reaches the image: use a black-box attack or `adaptive`.
        """
        seen = self._value_and_grad(x, goal, seeds=seeds)
        if self._nan is not None:
            self._nan.append(seen.grad.isnan().any())
        if self._watcher is not None:
            self._watcher(self, x, goal, seen.loss, seen.reached)
        return seen

    @final
    def values_and_grads(self, x: Tensor, goals: Sequence[Aim], *, seeds: Tensor) -> list[Gradient]:
        """Return `value_and_grad` of several goals, from one forward pass where that is possible.

        Args:
            x: images (N, C, H, W) in [0, 1].
            goals: one or more.
            seeds: int64 (N,).

        Raises:
            RuntimeError: no gradient reaches the image.
        """
        several = self._values_and_grads(x, goals, seeds=seeds)
        if self._nan is not None:
            self._nan.append(torch.stack([seen.grad.isnan().any() for seen in several]).any())
        if self._watcher is not None:
            self._watcher(self, x, goals[0], several[0].loss, several[0].reached)
        return several

    @final
    def logits_and_grads(
        self, x: Tensor, weights: Tensor, *, seeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Logits, and input gradients of several weighted sums of them, on one graph.

        One forward pass and M backward passes: the cheapest Jacobian there is.

        Args:
            x: images (N, C, H, W) in [0, 1].
            weights: (M, N, K[, H, W]), of the logits, for each of M gradients.
            seeds: int64 (N,).

        Returns:
            logits (N, K[, H, W]), gradients (M, N, C, H, W) of each sum over K (and pixels).

        Raises:
            RuntimeError: as in `value_and_grad`.
        """
        logits, grads = self._logits_and_grads(x, weights, seeds=seeds)
        if self._nan is not None:
            self._nan.append(grads.isnan().any())
        return logits, grads

    @contextmanager
    def nan_gradients(self) -> Iterator[list[Tensor]]:
        """Record, for every gradient taken inside the block, whether it holds NaN.

        The sign of NaN is 0 in torch: a sign attack would stand still and look merely weak.

        Yields:
            A list that grows by one bool scalar on the device per gradient.
        """
        found: list[Tensor] = []
        self._nan = found
        try:
            yield found
        finally:
            self._nan = None

    @contextmanager
    def watched(self, watcher: "Watcher") -> Iterator[None]:
        """Tell the watcher of every loss that is computed inside the block; no result changes."""
        self._watcher = watcher
        try:
            yield
        finally:
            self._watcher = None

    def _value(self, x: Tensor, goal: Aim, *, seeds: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            prediction = self(x, seeds, goal.loss.taps)
            return goal.value(prediction), goal.reached(prediction)

    def _value_and_grad(self, x: Tensor, goal: Aim, *, seeds: Tensor) -> Gradient:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            prediction = self(x, seeds, goal.loss.taps)
            loss = goal.value(prediction)
            self._check_gradient(loss)
            (grad,) = torch.autograd.grad(loss.sum(), x)
        return Gradient(loss.detach(), grad, goal.reached(prediction))

    def _values_and_grads(
        self, x: Tensor, goals: Sequence[Aim], *, seeds: Tensor
    ) -> list[Gradient]:
        taps = tuple(dict.fromkeys(tap for goal in goals for tap in goal.loss.taps))
        found = []
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            prediction = self(x, seeds, taps)
            for left, goal in zip(range(len(goals) - 1, -1, -1), goals, strict=True):
                loss = goal.value(prediction)
                self._check_gradient(loss)
                (grad,) = torch.autograd.grad(loss.sum(), x, retain_graph=left > 0)
                found.append(Gradient(loss.detach(), grad, goal.reached(prediction)))
        return found

    def _logits_and_grads(
        self, x: Tensor, weights: Tensor, *, seeds: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = self(x, seeds).logits
            self._check_gradient(logits)
            grads = [
                torch.autograd.grad(logits, x, weight.to(logits.dtype), retain_graph=more)[0]
                for weight, more in zip(weights, [True] * (len(weights) - 1) + [False], strict=True)
            ]
        return logits.detach(), torch.stack(grads)

    def _check_gradient(self, output: Tensor) -> None:
        if not output.requires_grad:
            raise RuntimeError(
                f"{type(self).__name__} gives no gradient; a gradient attack needs a "
                "differentiable surrogate: set threat=adaptive, or use a black-box attack"
            )


Watcher = Callable[[Surrogate, Tensor, Aim, Tensor, Tensor], None]
"""Told of each loss that an attack asks for: of which surrogate, at which images (N, C, H, W), for
which goal (the first of several), its values (N,), and which images (N,) reached the goal."""


class VictimSurrogate(Surrogate):
    """The bare victim, with exact gradients.

    Args:
        victim: frozen.
    """

    def __init__(self, victim: Victim) -> None:
        super().__init__()
        self.victim = victim

    @property
    def fingerprint(self) -> str:
        """The victim's own: no defense is in it, so all defenses share one adversarial set."""
        return self.victim.fingerprint

    def forward(self, x: Tensor, seeds: Tensor, taps: Sequence[str] = ()) -> Prediction:
        """The victim's answer; `seeds` are not used."""
        if not taps:
            return self.victim.predict(x)
        output, features = self.victim.features(x, taps)
        return replace(self.victim.read(output, x), features=features)
