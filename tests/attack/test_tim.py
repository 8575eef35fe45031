"""TIM: the smoothed gradient against SciPy, the whole attack against torchattacks.

Differing defaults of torchattacks' TIFGSM, which are therefore always given here: step size 2/255
(ours null = eps / steps), decay 0 (ours 1), input diversity with probability 0.5 (ours 0, as in
the paper); its kernel is fixed to three channels; it returns the last iterate, ours the best
(but for the one comparison).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from medrobust.attack.core.ball import LinfBall
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.iterated import Iterate
from medrobust.attack.core.kernel import gaussian_kernel, linear_kernel, uniform_kernel
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.dim import DIM
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.mim import MIM
from medrobust.attack.tim import TIM
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.peers import check_same

CONF = Path(__file__).parents[2] / "conf"
EPS = 8 / 255
KERNELS = {
    "gaussian": gaussian_kernel(7, 1.0),
    "uniform": uniform_kernel(7),
    "linear": linear_kernel(7),
}
Wrap = Callable[..., VictimSurrogate]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("channels", "size"), [(1, (8, 15)), (3, (15, 8))])
def test_steps_along_scipys_smoothed_gradient(
    kernel: str, channels: int, size: tuple[int, int], wrap: Wrap
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pool = nn.AdaptiveAvgPool2d(2)
        network = nn.Sequential(
            nn.Conv2d(channels, 6, 3), nn.Tanh(), pool, nn.Flatten(), nn.Linear(24, 3)
        )
    surrogate = wrap(network, channels).double()
    generator = torch.Generator().manual_seed(1)
    x = 0.2 + 0.6 * torch.rand(5, channels, *size, generator=generator, dtype=torch.float64)
    y, seeds = torch.arange(5) % 3, torch.arange(5)
    attack = TIM(EPS, steps=1, kernel=kernel, kernel_size=7)
    goal, ball = Goal(CrossEntropy(), Misclassified(), y), LinfBall(x, EPS)
    plain = surrogate.value_and_grad(x, goal, seeds=seeds).grad
    expected = np.stack(
        [
            scipy.ndimage.convolve(image.numpy(), KERNELS[kernel].numpy(), mode="constant")
            for image in plain.flatten(0, 1)
        ]
    ).reshape(x.shape)
    seen = attack.gradient(surrogate, Iterate(x, goal, ball, None, seeds))
    np.testing.assert_allclose(seen.grad.numpy(), expected, atol=1e-12)
    found = attack(surrogate, x, y, seeds=seeds)
    np.testing.assert_allclose((found - x).numpy(), EPS * np.sign(expected), atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [3, 15])
def test_the_peers_images(
    kernel: str,
    size: int,
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    """To 1e-6; where a pixel's gradient is zero up to rounding, an image may go another way."""
    torchattacks = pytest.importorskip("torchattacks")
    x, y, s = images[:100], labels[:100], seeds[:100]
    arguments = {"eps": EPS, "alpha": EPS / 6, "steps": 6, "decay": 0.8, "diversity_prob": 0.0}
    peer = torchattacks.TIFGSM(
        surrogate.victim, **arguments, kernel_name=kernel, len_kernel=size, nsig=3
    )
    ours = TIM(EPS, steps=6, decay=0.8, kernel=kernel, kernel_size=size)
    ours.gradient_at_point = False  # so that it returns the last iterate, as the peer does
    found, other = ours(surrogate, x, y, seeds=s), peer(x, y)
    check_same(found, other)


@pytest.mark.parametrize("probability", [0.0, 0.7])
def test_a_kernel_of_one_pixel_smooths_nothing(
    probability: float,
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
) -> None:
    """TIM becomes MIM, and TI-DIM becomes DIM."""
    attack = TIM(EPS, steps=4, kernel_size=1, diversity_prob=probability)
    plain = DIM(EPS, steps=4, diversity_prob=probability) if probability else MIM(EPS, steps=4)
    found, expected = (a(surrogate, images, labels, seeds=seeds) for a in (attack, plain))
    assert torch.equal(found, expected)


def test_default_kernel_is_the_papers() -> None:
    """15 pixels, its radius of 7 three standard deviations."""
    torch.testing.assert_close(TIM(EPS, steps=1).kernel, gaussian_kernel(15, 7 / 3))


def test_config() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        attack = instantiate(compose(overrides=["+attack=tim"]).attack)
    assert isinstance(attack, TIM)
    assert attack.fingerprint == TIM("8/255", steps=10).fingerprint


@pytest.mark.parametrize("size", [0, -1, 4, 2.5])
def test_bad_kernel_size(size: int) -> None:
    with pytest.raises(ValueError, match=r"attack\.kernel_size="):
        TIM(0.1, steps=2, kernel_size=size)


def test_bad_kernel() -> None:
    with pytest.raises(ValueError, match=r"attack\.kernel='box'; expected one of gaussian, unif"):
        TIM(0.1, steps=2, kernel="box")
