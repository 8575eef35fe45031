"""The authors' Auto-PGD as pyautoattack ports it, and models that it and ours are compared on.

Where their code differs from ours, other than by rounding:

- start: a random point whose farthest pixel is at eps (in L2: on the sphere); ours is uniform in
  the ball. Here both get ours.
- the first window of their step-size rule compares the loss after the first step with a row of
  zeros, where algorithm 1 has the loss at the start. `ReferenceAPGD` puts the start's loss there.
- they return the last fooled point, or the clean image; ours returns the best by (fooled, loss).
  Compared here is their point of the highest loss.
- step size, checkpoints, projection, momentum, who counts as fooled (start included): the same.
- images are cast to float32 in `perturb`; `climb` runs in the images' dtype.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.rng import sample_seeds
from medrobust.threat.surrogate import VictimSurrogate

COUNT = 100


class Fragile(nn.Module):
    """Two random layers on 90 numbers; a few 1/255 change its answer."""

    def __init__(self, classes: int, scale: float = 1.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first = nn.Parameter(torch.randn(90, 32, generator=generator) / 90**0.5 * 3)
        self.second = nn.Parameter(torch.randn(32, classes, generator=generator) * scale)

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) @ self.first).relu() @ self.second


def fragile(
    classes: int, scale: float = 1.0, dtype: torch.dtype = torch.float32
) -> tuple[VictimSurrogate, Tensor, Tensor, Tensor]:
    """Surrogate, images (100, 3, 6, 5), labels, seeds; the first five labels are wrong."""
    victim = Victim(Fragile(classes, scale), mean=[0.5] * 3, std=[0.25] * 3, architecture={})
    victim = victim.freeze().to(dtype)
    x = torch.rand(COUNT, 3, 6, 5, generator=torch.Generator().manual_seed(5)).to(dtype)
    y = victim(x).argmax(1)
    y[:5] = (y[:5] + 1) % classes
    return VictimSurrogate(victim), x, y, sample_seeds(1, [str(i) for i in range(COUNT)])


class Logged(VictimSurrogate):
    """Keeps the first pixel and seed of each look."""

    def __init__(self, victim: Victim) -> None:
        super().__init__(victim)
        self.seen: list[float] = []
        self.noise: list[int] = []

    def forward(self, x: Tensor, seeds: Tensor, taps: Sequence[str] = ()) -> Prediction:
        self.seen.append(float(x.detach().flatten()[0]))
        self.noise.append(int(seeds[0]))
        return super().forward(x, seeds, taps)


def standing(surrogate: VictimSurrogate, x: Tensor, y: Tensor) -> Tensor:
    """Bool (N,): still right."""
    with torch.no_grad():
        return surrogate.victim(x).argmax(1) == y


def reference(model: nn.Module, loss: str, norm: str, eps: float, steps: int) -> Any:
    """Their APGD with a method `climb(x, y, start)`: point of the highest loss, still right."""
    apgd = pytest.importorskip("pyautoattack.autopgd_base").APGDAttack

    class ReferenceAPGD(apgd):  # type: ignore[misc,valid-type]
        def climb(self, x: Tensor, y: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
            logits = model(start)
            rule = self.dlr_loss if loss == "dlr" else nn.CrossEntropyLoss(reduction="none")
            self.start_loss = rule(logits, y)
            self.init_hyperparam(x)
            peak, right, _, _ = self.attack_single_run(x, y, x_init=start)
            return peak, right.bool()

        def check_oscillation(self, x: Tensor, j: int, k: int, *rest: Any, **named: Any) -> Tensor:
            if j == k - 1:
                x = torch.cat([x[:-1], self.start_loss[None]])
            return super().check_oscillation(x, j, k, *rest, **named)

    norm = {"linf": "Linf", "l2": "L2"}[norm]
    return ReferenceAPGD(model, n_iter=steps, norm=norm, eps=eps, loss=loss, device="cpu")


def loss_at(surrogate: VictimSurrogate, x: Tensor, y: Tensor, loss: str, peer: Any) -> Tensor:
    """(N,), by the peer's formula."""
    with torch.no_grad():
        logits = surrogate.victim(x)
    return (
        peer.dlr_loss(logits, y) if loss == "dlr" else F.cross_entropy(logits, y, reduction="none")
    )
