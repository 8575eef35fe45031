"""VMI-FGSM against torchattacks' with the same neighbours.

Differing defaults of torchattacks' VMIFGSM, which are therefore always given here: step size
2/255 (ours null = eps / steps), 5 neighbours (ours 20, as in the paper). It looks around every
point, also the last one, whose neighbours nothing uses; its neighbours may leave [0, 1] (ours are
cut, so the images compared here lie far enough inside); it returns the last iterate, ours the
best (but for the comparison).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor

from medrobust.attack.mim import MIM
from medrobust.attack.vmi_fgsm import VMIFGSM
from medrobust.rng import fold_in, uniform
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.peers import check_same

CONF = Path(__file__).parents[2] / "conf"
EPS, STEPS, NEIGHBOURS = 12 / 255, 5, 3


class Planned:
    """Stands in for `torch.randn_like`, whose result the peer fills by `uniform_`."""

    def __init__(self, seeds: Tensor, shape: torch.Size) -> None:
        looks = [fold_in(fold_in(seeds, 0), step) for step in range(1, STEPS + 1)]
        own = [fold_in(look, near + 1) for look in looks for near in range(NEIGHBOURS)]
        self.noise = [uniform(fold_in(one, 0), shape) for one in own]
        self.drawn = 0

    def __call__(self, images: Tensor) -> "Planned":
        return self

    def uniform_(self, low: float, high: float) -> Tensor:
        self.drawn += 1
        return low + (high - low) * self.noise[self.drawn - 1]


def test_the_peers_images(
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    x, y, s = 0.5 + 0.5 * (images[:100] - 0.5), labels[:100], seeds[:100]
    arguments = {"alpha": EPS / STEPS, "steps": STEPS, "decay": 0.9, "beta": 1.5}
    peer = torchattacks.VMIFGSM(surrogate.victim, eps=EPS, N=NEIGHBOURS, **arguments)
    ours = VMIFGSM(EPS, steps=STEPS, decay=0.9, neighbours=NEIGHBOURS, beta=1.5)
    ours.gradient_at_point = False  # so that it returns the last iterate, as the peer does
    found = ours(surrogate, x, y, seeds=s)
    planned = Planned(s, x.shape[1:])
    with monkeypatch.context() as patch:
        patch.setattr(torch, "randn_like", planned)
        other = peer(x, y)
    assert planned.drawn == STEPS * NEIGHBOURS
    check_same(found, other)
    plain = MIM(EPS, steps=STEPS, decay=0.9)(surrogate, x, y, seeds=s)
    assert (plain != found).flatten(1).any(1).float().mean() > 0.5  # the neighbours do count


def test_one_step_is_mims(surrogate: VictimSurrogate, images: Tensor) -> None:
    """The first step knows no neighbours."""
    x, y, s = images[:20], torch.arange(20) % 3, torch.arange(20)
    one = VMIFGSM(EPS, steps=1, neighbours=2)(surrogate, x, y, seeds=s)
    assert torch.equal(one, MIM(EPS, steps=1)(surrogate, x, y, seeds=s))


@pytest.fixture
def asked(surrogate: VictimSurrogate) -> Iterator[list[Tensor]]:
    """Images of every forward pass."""
    looks: list[Tensor] = []
    hook = surrogate.register_forward_pre_hook(lambda _, inputs: looks.append(inputs[0].detach()))
    yield looks
    hook.remove()


def test_cost_and_range(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor, asked: list[Tensor]
) -> None:
    """The last point has no neighbours; those of black pixels are images too."""
    x = images[:10].clone()
    x[:, :, :3] = 0.0
    VMIFGSM(EPS, steps=4, neighbours=3)(surrogate, x, labels[:10], seeds=seeds[:10])
    assert len(asked) == 4 + 3 * 3 + 1
    assert min(look.amin().item() for look in asked) == 0.0
    near = asked[2] - x  # the first neighbours, of the clean images
    reach = 1.5 * EPS
    assert near.abs().max() <= reach + 1e-6
    inner = near[(x > reach) & (x < 1 - reach)]
    assert inner.abs().max() > 0.98 * reach
    assert inner.mean().abs() < 0.05 * reach
    assert inner.var().item() == pytest.approx(reach**2 / 3, rel=0.1)


def test_the_fooled_have_no_neighbours(
    surrogate: VictimSurrogate, images: Tensor, seeds: Tensor, asked: list[Tensor]
) -> None:
    wrong = (surrogate.victim(images).argmax(1) + 1) % 3
    attack = VMIFGSM(0.001, steps=5, neighbours=3, early_stop=True)
    attack(surrogate, images, wrong, seeds=seeds)
    assert [len(look) for look in asked] == [200, 200]


def test_those_that_stay_are_not_changed_by_those_that_leave(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """To 1e-6, but for a rare pixel whose gradient is zero up to rounding."""
    attack = VMIFGSM("3/255", steps=4, neighbours=2, early_stop=True)
    found = attack(surrogate, images, labels, seeds=seeds)
    standing = (surrogate.victim(found).argmax(1) == labels).nonzero().flatten()
    assert 10 < len(standing) < len(images) - 10
    alone = attack(surrogate, images[standing], labels[standing], seeds=seeds[standing])
    check_same(found[standing], alone)


def test_config() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        attack = instantiate(compose(overrides=["+attack=vmi_fgsm"]).attack)
    assert isinstance(attack, VMIFGSM)
    assert attack.fingerprint == VMIFGSM("8/255", steps=10).fingerprint


@pytest.mark.parametrize("count", [0, -1, 2.5])
def test_bad_neighbours(count: int) -> None:
    with pytest.raises(ValueError, match=r"attack\.neighbours="):
        VMIFGSM(0.1, steps=2, neighbours=count)


@pytest.mark.parametrize("beta", [0, -1.5, "wide"])
def test_bad_beta(beta: float) -> None:
    with pytest.raises(ValueError, match=r"attack\.beta="):
        VMIFGSM(0.1, steps=2, beta=beta)
