"""SI-NI-FGSM against torchattacks', image by image.

Differing defaults of torchattacks' SINIFGSM, which are therefore always given here: step size
2/255 (ours null = eps / steps). Its look ahead may leave [0, 1] (ours is cut, so the images
compared here lie far enough inside). Both return the last iterate.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor
from torch.nn import functional as F

from medrobust.attack.mim import MIM
from medrobust.attack.sini_fgsm import SINIFGSM
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.peers import check_same

CONF = Path(__file__).parents[2] / "conf"
EPS = 8 / 255


@pytest.mark.by_default("0.0-1", "0.6-1")
@pytest.mark.parametrize("copies", [1, 5])
@pytest.mark.parametrize("decay", [0.0, 0.6])
def test_the_peers_images(
    copies: int,
    decay: float,
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    x = 0.5 + 0.2 * (images - 0.5)  # the look ahead adds up to a few eps
    peer = torchattacks.SINIFGSM(
        surrogate.victim, eps=EPS, alpha=EPS / 5, steps=5, decay=decay, m=copies
    )
    ours = SINIFGSM(EPS, steps=5, decay=decay, copies=copies)
    found, other = ours(surrogate, x, labels, seeds=seeds), peer(x, labels)
    check_same(found, other)
    plain = MIM(EPS, steps=5, decay=decay)(surrogate, x, labels, seeds=seeds)
    assert copies == 1 or (plain != found).flatten(1).any(1).float().mean() > 0.5


@pytest.fixture
def asked(surrogate: VictimSurrogate) -> Iterator[list[Tensor]]:
    """Images of every forward pass."""
    looks: list[Tensor] = []
    hook = surrogate.register_forward_pre_hook(lambda _, inputs: looks.append(inputs[0].detach()))
    yield looks
    hook.remove()


def test_what_it_looks_at(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, asked: list[Tensor]
) -> None:
    """Copies of halving brightness; ahead by the momentum, whose mean absolute value is one."""
    x, y, seeds = 0.5 + 0.2 * (images[:10] - 0.5), labels[:10], torch.arange(10)
    SINIFGSM(EPS, steps=2, decay=0.5, copies=3)(surrogate, x, y, seeds=seeds)
    looks = list(asked)
    assert len(looks) == 2 * 3 + 1
    assert torch.equal(looks[0], x)
    for first in (0, 3):
        assert torch.equal(looks[first + 1], looks[first] / 2)
        assert torch.equal(looks[first + 2], looks[first] / 4)
    one = SINIFGSM(EPS, steps=1, step_size=EPS / 2, copies=3)(surrogate, x, y, seeds=seeds)
    lead = (looks[3] - one).abs().flatten(1).mean(1)
    torch.testing.assert_close(lead, torch.full((10,), 0.5 * EPS / 2), rtol=1e-4, atol=0)


def test_looks_at_images_only(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, asked: list[Tensor]
) -> None:
    """Ahead of a black or white border lies what is no image."""
    x = images[:10].clone()
    x[:, :, :2], x[:, :, -2:] = 0.0, 1.0
    SINIFGSM(EPS, steps=3, decay=1.0)(surrogate, x, labels[:10], seeds=torch.arange(10))
    assert min(look.amin().item() for look in asked) == 0.0
    assert max(look.amax().item() for look in asked) == 1.0


def test_raises_the_loss_of_dimmed_images(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """What it climbs: the mean over the copies; on the image itself MIM is stronger."""
    attacks = SINIFGSM("3/255", steps=10, copies=3), MIM("3/255", steps=10)
    found = [a(surrogate, images, labels, seeds=seeds) for a in attacks]
    with torch.no_grad():
        losses = torch.stack(
            [
                F.cross_entropy(surrogate.victim(scale * made), labels)
                for made in found
                for scale in (1, 1 / 2, 1 / 4)
            ]
        ).view(2, 3)
    print(f"losses {losses.tolist()} (SI-NI-FGSM, MIM)")
    assert losses[0].mean() > losses[1].mean()
    assert losses[0, 0] < losses[1, 0]


def test_one_copy_without_memory_takes_mims_step(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    found, plain = (
        a(surrogate, images, labels, seeds=seeds)
        for a in (SINIFGSM(EPS, steps=1, copies=1), MIM(EPS, steps=1))
    )
    assert torch.equal(found, plain)


def test_config() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        attack = instantiate(compose(overrides=["+attack=sini_fgsm"]).attack)
    assert isinstance(attack, SINIFGSM)
    assert attack.fingerprint == SINIFGSM("8/255", steps=10).fingerprint


@pytest.mark.parametrize("copies", [0, -1, 2.5, 65])
def test_bad_copies(copies: int) -> None:
    with pytest.raises(ValueError, match=r"attack\.copies="):
        SINIFGSM(0.1, steps=2, copies=copies)
