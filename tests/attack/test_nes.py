import pytest
import torch
from torch import Tensor

from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.margin import lead
from medrobust.attack.nes import NES
from medrobust.model.core.victim import Victim
from medrobust.rng import fold_in, normal
from medrobust.threat.surrogate import VictimSurrogate
from tests.attack.test_config import build

EPS = 8 / 255


def test_a_step_is_the_papers(row_surrogate: VictimSurrogate) -> None:
    """Wide budget, grey images: nothing is cut, and the signs are those of the paper's sum."""
    x = torch.full((3, 3, 6, 5), 0.5, dtype=torch.float64)
    x += 0.05 * torch.arange(3).view(3, 1, 1, 1)
    victim = Victim(row_surrogate.victim.network, mean=[0.5] * 3, std=[0.25] * 3, architecture={})
    surrogate = VictimSurrogate(victim.freeze().double())
    y, seeds = victim(x).argmax(1), torch.tensor([3, 4, 5])
    attack = NES(0.9, steps=1, samples=7, sigma=0.001, step_size=0.03, loss=CrossEntropy())
    asked: list[Tensor] = []
    handle = victim.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0].clone()))
    attack(surrogate, x, y, seeds=seeds)
    handle.remove()
    for i in range(3):
        total = torch.zeros(3, 6, 5, dtype=torch.float64)
        for p in range(7):
            u = normal(fold_in(fold_in(seeds, 0), p), (3, 6, 5))[i].double()
            up, down = (
                torch.nn.functional.cross_entropy(victim((x[i] + side * 0.001 * u)[None]), y[[i]])
                for side in (1, -1)
            )
            total += (up - down) * u
        last = asked[-1][i]  # the question after the step
        torch.testing.assert_close(last, x[i] + 0.03 * total.sign(), atol=1e-12, rtol=0)


def test_momentum_helps_when_samples_are_few(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y = images[:60], labels[:60]
    margins = [
        lead(surrogate.victim(attack(surrogate, x, y, seeds=seeds[:60])), y).mean()
        for attack in (NES(EPS, steps=25, samples=8, decay=decay) for decay in (0.0, 0.9))
    ]
    assert margins[1] < 0.95 * margins[0]


def test_config() -> None:
    attack = build("+attack=nes")
    assert isinstance(attack, NES)
    assert (attack.eps, attack.queries) == (EPS, 10201)
    assert attack.fingerprint == NES("8/255", steps=200).fingerprint


@pytest.mark.parametrize(
    ("key", "value"), [("sigma", 0), ("sigma", 2), ("step_size", 0), ("decay", -1)]
)
def test_bad_numbers_are_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"attack\.{key}="):
        NES(EPS, steps=1, **{key: value})
