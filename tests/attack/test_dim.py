"""DIM: equal to resize, pad and momentum written out for one image at a time.

Differing defaults of torchattacks' DIFGSM, which are therefore always given here: step size 2/255
(ours null = eps / steps), decay 0 (ours 1), one size and one place for a whole batch, bilinear
(the paper and ours: nearest), height and width both from the width; the last place never occurs.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.attack.core.ball import LinfBall
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.iterated import Iterate
from medrobust.attack.core.transform import Window, draw_window, shrink
from medrobust.attack.criterion.jaccard_below import JaccardBelow
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.dim import DIM
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.mim import MIM
from medrobust.rng import fold_in
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.peers import check_same

CONF = Path(__file__).parents[2] / "conf"
EPS = 8 / 255
Wrap = Callable[..., VictimSurrogate]


def moved(image: Tensor, window: Window, index: int) -> Tensor:
    """One image (C, H, W) resized and padded by torch's own functions."""
    height, width, top, left = (int(part[index]) for part in window)
    small = F.interpolate(image[None], size=(height, width), mode="nearest")[0]
    bottom, right = image.shape[1] - top - height, image.shape[2] - left - width
    return F.pad(small, (left, right, top, bottom))


def windows(seeds: Tensor, step: int, shape: torch.Size, probability: float) -> Window:
    """Those of a step of the only restart."""
    drawn = fold_in(fold_in(fold_in(seeds, 0), step), 1)
    return draw_window(drawn, shape[2], shape[3], rate=0.8, probability=probability)


def plainly(
    surrogate: VictimSurrogate, x: Tensor, y: Tensor, seeds: Tensor, steps: int, decay: float
) -> Tensor:
    """M-DI²-FGSM with a Python loop over images, and the gradient through every operation."""
    found = x.clone()
    momentum = torch.zeros_like(x)
    for step in range(steps):
        window = windows(seeds, step, x.shape, 0.6)
        for index in range(len(x)):
            leaf = found[index].clone().requires_grad_()
            logits = surrogate.victim(moved(leaf, window, index)[None])
            loss = F.cross_entropy(logits, y[index : index + 1])
            (grad,) = torch.autograd.grad(loss, leaf)
            momentum[index] = decay * momentum[index] + grad / grad.abs().sum()
        found = found + EPS / steps * momentum.sign()
        found = torch.minimum(torch.maximum(found, x - EPS), x + EPS).clamp(0, 1)
    return found


@pytest.mark.parametrize("decay", [0.0, 0.7])
@pytest.mark.parametrize(("channels", "size"), [(3, (12, 12)), (1, (9, 16))])
def test_equal_to_one_image_at_a_time(
    channels: int, size: tuple[int, int], decay: float, wrap: Wrap
) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pool = nn.AdaptiveAvgPool2d(3)
        network = nn.Sequential(
            nn.Conv2d(channels, 6, 3), nn.Tanh(), pool, nn.Flatten(), nn.Linear(54, 3)
        )
    surrogate = wrap(network, channels).double()
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(12, channels, *size, generator=generator, dtype=torch.float64)
    y, seeds = torch.arange(12) % 3, torch.arange(12)
    attack = DIM(EPS, steps=4, decay=decay, resize_rate=0.8, diversity_prob=0.6)
    found = attack(surrogate, x, y, seeds=seeds)
    torch.testing.assert_close(found, plainly(surrogate, x, y, seeds, 4, decay), atol=1e-9, rtol=0)
    plain = MIM(EPS, steps=4, decay=decay)(surrogate, x, y, seeds=seeds)
    assert (found != plain).flatten(1).any(1).all()


def test_without_diversity_it_is_mim(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    found = DIM(EPS, steps=5, diversity_prob=0.0)(surrogate, images, labels, seeds=seeds)
    assert torch.equal(found, MIM(EPS, steps=5)(surrogate, images, labels, seeds=seeds))


def test_without_diversity_it_is_the_peers(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    torchattacks = pytest.importorskip("torchattacks")
    peer = torchattacks.DIFGSM(
        surrogate.victim, eps=EPS, alpha=EPS / 5, steps=5, decay=0.7, diversity_prob=0.0
    )
    ours = DIM(EPS, steps=5, decay=0.7, diversity_prob=0.0)
    ours.gradient_at_point = False  # so that it returns the last iterate, as the peer does
    found, other = ours(surrogate, images, labels, seeds=seeds), peer(images, labels)
    check_same(found, other)


def test_a_mask_moves_with_its_image(pixel_surrogate: VictimSurrogate) -> None:
    """The gradient of a look, against autograd through image and mask moved by torch."""
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(8, 3, 10, 14, generator=generator)
    y = torch.randint(3, (8, 10, 14), generator=generator)
    seeds = torch.arange(8)
    attack = DIM(EPS, steps=1, resize_rate=0.5, diversity_prob=1.0)
    goal = Goal(CrossEntropy(), JaccardBelow(), y)
    seen = attack.gradient(pixel_surrogate, Iterate(x, goal, LinfBall(x, EPS), None, seeds))
    window = draw_window(fold_in(seeds, 1), 10, 14, rate=0.5, probability=1.0)
    for index in range(8):
        leaf = x[index].clone().requires_grad_()
        mask = moved(y[index][None].float(), window, index).long()
        loss = F.cross_entropy(pixel_surrogate.victim(moved(leaf, window, index)[None]), mask)
        (grad,) = torch.autograd.grad(loss, leaf)
        torch.testing.assert_close(seen.grad[index], grad, atol=1e-7, rtol=1e-4)


def test_every_step_draws_anew(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, seeds = images[:80], labels[:80], seeds[:80]
    goal, ball = Goal(CrossEntropy(), Misclassified(), y), LinfBall(x, EPS)
    attack = DIM(EPS, steps=1, resize_rate=0.5, diversity_prob=1.0)
    first, again, second = (
        attack.gradient(surrogate, Iterate(x, goal, ball, None, s)).grad
        for s in (seeds, seeds, fold_in(seeds, 1))
    )
    assert torch.equal(first, again)
    assert (first != second).flatten(1).any(1).float().mean() > 0.9


def test_raises_the_loss_of_transformed_images(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """What it climbs: on other draws than its own it beats MIM, on the image itself it does not."""
    attacks = DIM(EPS / 2, steps=10, diversity_prob=1.0), MIM(EPS / 2, steps=10)
    found = [a(surrogate, images, labels, seeds=seeds) for a in attacks]
    still, shrunk = [], []
    for made in found:
        looks = [made]
        for draw in range(5):
            window = draw_window(fold_in(seeds, 100 + draw), 12, 12, rate=0.9, probability=1.0)
            looks.append(shrink(made, window))
        with torch.no_grad():
            losses = [F.cross_entropy(surrogate.victim(look), labels).item() for look in looks]
        still.append(losses[0])
        shrunk.append(sum(losses[1:]) / 5)
    print(f"losses on shrunk images {shrunk}, on the images {still} (DIM, MIM)")
    assert shrunk[0] > shrunk[1]
    assert still[0] < still[1]


def test_the_fooled_are_not_looked_at(
    surrogate: VictimSurrogate, images: Tensor, seeds: Tensor
) -> None:
    """With early stop a point is judged by a forward pass, before its image costs a gradient."""
    wrong = (surrogate.victim(images).argmax(1) + 1) % 3
    looks: list[tuple[int, bool]] = []
    hook = surrogate.register_forward_pre_hook(
        lambda _, inputs: looks.append((len(inputs[0]), inputs[0].requires_grad))
    )
    try:
        DIM(0.001, steps=5, early_stop=True)(surrogate, images, wrong, seeds=seeds)
    finally:
        hook.remove()
    assert looks == [(200, True), (200, False)]


def test_config() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        attack = instantiate(compose(overrides=["+attack=dim"]).attack)
    assert isinstance(attack, DIM)
    assert attack.fingerprint == DIM("8/255", steps=10).fingerprint


@pytest.mark.parametrize("rate", [0, 1, 1.1, -0.5, "wide"])
def test_bad_resize_rate(rate: float) -> None:
    with pytest.raises(ValueError, match=r"attack\.resize_rate="):
        DIM(0.1, steps=2, resize_rate=rate)


@pytest.mark.parametrize("probability", [-0.1, 1.1, "often"])
def test_bad_probability(probability: float) -> None:
    with pytest.raises(ValueError, match=r"attack\.diversity_prob="):
        DIM(0.1, steps=2, diversity_prob=probability)
