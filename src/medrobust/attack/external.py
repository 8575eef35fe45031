"""Another library's attack, or any callable, in the matrix."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from medrobust.attack.base import Attack
from medrobust.attack.goal import Goal
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Surrogate

Call = Callable[..., Tensor]


class External(Attack):
    """Calls `call(model, images, labels, **arguments) -> images` and verifies what comes back.

    The model it is given is a plain `nn.Module` in evaluation mode, images in [0, 1] (N, C, H, W)
    -> the surrogate's logits. Its random numbers come from the global generators, seeded here
    from the first image's seed and restored afterwards: the same batch gives the same result, but
    another batch size may not.

    Args:
        call: the callable, or its dotted path. Only a path can be fingerprinted, and so cached.
        arguments: plain keyword arguments for it. Whatever budget it takes is set here.
        eps: the budget that its result is held to; None = no budget.
        norm: `linf` or `l2`.
    """

    needs_eps: ClassVar[bool] = False

    def __init__(
        self,
        call: str | Call,
        *,
        arguments: Mapping[str, Any] | None = None,
        eps: float | str | None = None,
        norm: str = "linf",
    ) -> None:
        if norm not in ("linf", "l2"):
            raise ValueError(f"attack.norm={norm!r}, expected linf or l2")
        self.norm = norm
        super().__init__(eps)
        self.call = imported(call) if isinstance(call, str) else call
        self.arguments = dict(arguments or {})

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """What the callable returns, detached."""
        model = LogitsModel(surrogate, seeds)
        with _untouched(model), _seeded(int(seeds[0]) % 2**32, x.device), torch.enable_grad():
            return self.call(model, x.clone(), goal.labels.clone(), **self.arguments).detach()


class LogitsModel(nn.Module):
    """The surrogate as other libraries want it: images in, logits out.

    A random surrogate gets fresh noise at each call. Other libraries drop, repeat and reorder
    images as they like, so the noise belongs to a place in the call, not to an image.

    Args:
        surrogate: what the threat lets the attacker see.
        seeds: int64 (N,) of the batch.
    """

    def __init__(self, surrogate: Surrogate, seeds: Tensor) -> None:
        super().__init__()
        self.surrogate = surrogate
        self.seed = seeds[:1]
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, K) or (N, K, H, W)."""
        self.calls += 1
        places = torch.arange(len(x), device=self.seed.device)
        return self.surrogate(x, fold_in(fold_in(self.seed, self.calls), places)).logits


def torchattacks_attack(
    model: nn.Module, images: Tensor, labels: Tensor, *, attack: str, **arguments: Any
) -> Tensor:
    """Runs a torchattacks class.

    Args:
        model: images in [0, 1] -> logits.
        images: (N, C, H, W).
        labels: (N,).
        attack: dotted path such as `torchattacks.PGD`.
        arguments: its constructor's arguments, in its own units (`eps`, `alpha`, `steps`, ...).
    """
    return imported(attack)(model, **arguments)(images, labels)


def foolbox_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    attack: str,
    epsilon: float | None,
    **arguments: Any,
) -> Tensor:
    """Runs a foolbox class; returned are the images cut to the budget.

    Args:
        model: images in [0, 1] -> logits.
        images: (N, C, H, W).
        labels: (N,).
        attack: dotted path such as `foolbox.attacks.LinfPGD`.
        epsilon: budget in the attack's norm; None for minimum-norm attacks.
        arguments: its constructor's arguments (`steps`, `rel_stepsize`, ...).
    """
    wrapped = imported("foolbox.PyTorchModel")(model, bounds=(0, 1), device=images.device)
    _, cut, _ = imported(attack)(**arguments)(wrapped, images, labels, epsilons=epsilon)
    return cut


def imported(path: str) -> Any:
    """The object at a dotted path `package.module.name`.

    Raises:
        ValueError: there is no such module or name.
    """
    module, _, name = path.rpartition(".")
    try:
        return vars(import_module(module))[name]
    except (ImportError, KeyError, ValueError) as error:
        raise ValueError(
            f"attack.call: nothing can be imported as {path!r} ({error}); expected a dotted path "
            "such as medrobust.attack.external.torchattacks_attack of an installed package"
        ) from error


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and frozen weights inside, everything as before outside."""
    modes = {module: module.training for module in model.modules()}
    learns = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.eval().requires_grad_(False)
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for parameter, required in learns.items():
            parameter.requires_grad_(required)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds the global generators of torch and numpy inside, restores them outside."""
    before = np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)
