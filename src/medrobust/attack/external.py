"""Another library's attack, or any callable, in the matrix."""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from medrobust.attack.core.ball import rounded_toward
from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.criterion import Criterion
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.norm import known_norm
from medrobust.attack.criterion.by_task import BY_TASK
from medrobust.code.module import owner
from medrobust.configured import Code
from medrobust.rng import fold_in
from medrobust.task import Task
from medrobust.threat.surrogate import Surrogate

Call = Callable[..., Tensor]

_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_FRACTION = re.compile(r"[\d.]+/[\d.]+")


class External(Attack):
    """Calls `call(model, images, labels, **arguments) -> images` and verifies what comes back.

    The model it is given is a plain `nn.Module` in evaluation mode, images in [0, 1] (N, C, H, W)
    -> the surrogate's logits. It sees float32 whatever the victim computes in, since most
    libraries know nothing else. Its random numbers come from the global generators, seeded here
    from the first image's seed and restored afterwards: the same batch gives the same result, but
    another batch size may not. Untargeted, on classes, and on masks where the library allows it.

    Args:
        call: the callable, or its dotted path; its code is part of the fingerprint. A lambda, a
            notebook's function and compiled code cannot be known again, and are never replayed.
            `medrobust.attack.adapter` has one for each of several libraries.
        arguments: plain keyword arguments for it; a text such as `8/255` becomes a number.
            Whatever budget it takes is set here.
        eps: the budget that its result is held to; None = no budget.
        norm: `linf` or `l2`.
    """

    needs_eps: ClassVar[bool] = False
    criteria: ClassVar[Mapping[Task, type[Criterion]]] = {
        task: rule for task, rule in BY_TASK.items() if task != "detection"
    }

    def __init__(
        self,
        call: str | Call,
        *,
        arguments: Mapping[str, Any] | None = None,
        eps: float | str | None = None,
        norm: str = "linf",
    ) -> None:
        self.norm = known_norm(norm)
        super().__init__(eps)
        self.call = imported(call) if isinstance(call, str) else call
        self.arguments = {name: _number(value) for name, value in (arguments or {}).items()}

    @property
    def computed_by(self) -> tuple[Code, ...]:
        """The class, the callable, and local code that an argument names by its path."""
        paths = [path for path in self.arguments.values() if _is_local(path)]
        named = [imported(path, "attack.arguments") for path in paths]
        return tuple(dict.fromkeys((*super().computed_by, self.call, *named)))

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """Call the attack and return its images on the device and in the dtype of `x`."""
        model = LogitsModel(surrogate, seeds, x.dtype)
        images = x.to(torch.float32, copy=True)
        with _untouched(model), _seeded(int(seeds[0]) % 2**32, x.device), torch.enable_grad():
            try:
                found = self.call(model, images, goal.labels.clone(), **self.arguments)
            except (RuntimeError, IndexError) as error:
                if goal.labels.ndim == 1:
                    raise
                raise AttackError(
                    f"attack.call fails on masks {tuple(goal.labels.shape)} ({error}), expected an "
                    "attack on pixels; use one of this package, such as attack=pgd"
                ) from error
        if not isinstance(found, Tensor) or found.shape != x.shape:
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise AttackError(
                f"attack.call returned {what}, expected a tensor of images {tuple(x.shape)}"
            )
        return rounded_toward(found.detach().to(x.device), x)


class LogitsModel(nn.Module):
    """The surrogate as other libraries want it: images in, logits out.

    A randomized surrogate gets fresh noise at each call. Other libraries drop, repeat and reorder
    images as they like, so the noise belongs to a place in the call, not to an image.

    It cannot be put into training mode, moved or cast: other libraries do all three to what they
    are given, and the victim inside would lose its running statistics or its faster copy.

    Args:
        surrogate: what the threat lets the attacker see.
        seeds: int64 (N,) of the batch.
        dtype: of the surrogate's images; None = as they come.
    """

    def __init__(
        self, surrogate: Surrogate, seeds: Tensor, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.surrogate = surrogate
        self.seed = seeds[:1]
        self.dtype = dtype
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) or (N, K, H, W), in the dtype of `x`."""
        self.calls += 1
        places = torch.arange(len(x), device=self.seed.device)
        noise = fold_in(fold_in(self.seed, self.calls), places)
        return self.surrogate(x.to(self.dtype or x.dtype), noise).logits.to(x.dtype)

    def train(self, mode: bool = True) -> "LogitsModel":
        """Stays in evaluation mode."""
        return super().train(False)

    def _apply(self, *args: Any, **kwargs: Any) -> "LogitsModel":
        return self


def imported(path: str, key: str = "attack.call") -> Any:
    """The object at a dotted path `package.module.name`.

    Args:
        path: the path.
        key: where the config has it, for the error.

    Raises:
        ValueError: there is no such module or name.
        MissingLibraryError: an adapter's library is not installed.
    """
    module, _, name = path.rpartition(".")
    try:
        return vars(import_module(module))[name]
    except (ImportError, KeyError, ValueError) as error:
        raise ValueError(
            f"{key}: nothing can be imported as {path!r} ({error}); expected a dotted path such "
            "as medrobust.attack.adapter.foolbox.run of an installed package"
        ) from error


def _is_local(path: Any) -> bool:
    """Tell whether an argument is the dotted path of something of the user's own."""
    return (
        isinstance(path, str)
        and _PATH.fullmatch(path) is not None
        and owner(path.rpartition(".")[0]) == "local"
    )


def _number(value: Any) -> Any:
    """A text such as `8/255` as a number; anything else as it is."""
    if not isinstance(value, str) or not _FRACTION.fullmatch(value):
        return value
    above, below = value.split("/")
    return float(above) / float(below)


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, frozen weights without gradients inside, all as before outside."""
    modes = {module: module.training for module in model.modules()}
    weights = [(weight, weight.requires_grad, weight.grad) for weight in model.parameters()]
    model.eval().requires_grad_(False)
    for weight, _, _ in weights:
        weight.grad = None  # or a library could add to it
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for weight, required, grad in weights:
            weight.requires_grad_(required)
            weight.grad = grad


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds the global generators of torch, NumPy and Python inside, restores them outside."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
