"""MDDA against a slow version in NumPy, and what its attacker gets."""

import numpy as np
import pytest
import torch
from skimage.restoration import denoise_tv_bregman

from medrobust.attack.loss.margin import lead
from medrobust.attack.pgd import PGD
from medrobust.defense.mdda import MDDA, StraightThroughMDDA, resample
from medrobust.model.core.victim import Victim
from medrobust.number import NumberError
from medrobust.rng import fold_in, normal, sample_seeds
from medrobust.threat.mean_loss import MeanLossSurrogate
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from tests.support.helpers import small_cnn

SEEDS = torch.arange(3) + 40


def images(*shape: int) -> torch.Tensor:
    return 0.2 + 0.6 * torch.rand(shape, generator=torch.Generator().manual_seed(0))


def slow_resample(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W) at another size: nearest of pixel centres, or Keys' bicubic with a = -0.75."""

    def keys(t: float, a: float = -0.75) -> float:
        t = abs(t)
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0

    def line(values: np.ndarray, length: int) -> np.ndarray:
        out = np.zeros(length)
        for i in range(length):
            place = (i + 0.5) * len(values) / length
            if length < len(values):
                out[i] = values[int(place)]
                continue
            for j in range(int(np.floor(place - 0.5)) - 1, int(np.floor(place - 0.5)) + 3):
                out[i] += values[min(max(j, 0), len(values) - 1)] * keys(place - 0.5 - j)
        return out

    if image.shape == (height, width):
        return image
    rows = np.stack([line(row, width) for row in image])
    return np.stack([line(column, height) for column in rows.T], axis=1)


def slow_tv(image: np.ndarray, gamma: float) -> np.ndarray:
    """scikit-image's solver; the mirrored margin is explained in test_tv."""
    padded = np.pad(image, 24, mode="symmetric")
    solved = denoise_tv_bregman(padded, weight=gamma, max_num_iter=600, eps=1e-9, isotropic=False)
    return solved[24:-24, 24:-24]


def slow_mdda(image: np.ndarray, noises: list[list[np.ndarray]], gamma: float) -> np.ndarray:
    """Algorithm 1 on one channel (H, W); `noises[round][scale]` are ready to be added."""
    height, width = image.shape
    levels = [slow_resample(image, *noise.shape) for noise in noises[0]]
    for drawn in noises:
        denoised = [
            np.clip(slow_tv(level + noise, gamma), 0, 1)
            for level, noise in zip(levels, drawn, strict=True)
        ]
        levels = []
        for k, level in enumerate(denoised):
            group = [level]
            for other in (k - 1, k + 1):
                if 0 <= other < len(denoised):
                    group.append(slow_resample(denoised[other], *level.shape))
            levels.append(sum(group) / len(group))
    return np.clip(np.mean([slow_resample(level, height, width) for level in levels], 0), 0, 1)


@pytest.mark.by_default("shape1")
@pytest.mark.parametrize("shape", [(3, 16, 12), (1, 13, 18)])
def test_equals_the_slow_version(shape):
    x, gamma = images(2, *shape), 12.0
    found = MDDA(2, 0.05, gamma=gamma, iterations=400).purify(x, seeds=SEEDS[:2])
    sizes = [[int(side * k + 0.5) for side in shape[1:]] for k in (0.25, 0.5, 1, 2)]
    noises = [
        [
            normal(fold_in(fold_in(SEEDS[:2], step), k), (shape[0], *size)) * 0.025**0.5
            for k, size in enumerate(sizes)
        ]
        for step in range(2)
    ]
    for i in range(2):
        for channel in range(shape[0]):
            drawn = [[noise[i, channel].double().numpy() for noise in row] for row in noises]
            expected = slow_mdda(x[i, channel].double().numpy(), drawn, gamma)
            np.testing.assert_allclose(found[i, channel].numpy(), expected, atol=2e-3)


def test_resampling_back_and_forth():
    x = images(1, 2, 9, 10).double()
    for size in ((5, 5), (18, 20), (9, 10), (13, 14)):
        expected = [slow_resample(channel.numpy(), *size) for channel in x[0]]
        np.testing.assert_allclose(resample(x, size)[0].numpy(), expected, atol=1e-12)


def test_an_image_is_the_same_in_any_batch():
    x, mdda = images(3, 3, 17, 22), MDDA(2, iterations=10)
    whole = mdda.purify(x, seeds=SEEDS)
    assert torch.equal(whole[[2, 0]], mdda.purify(x[[2, 0]], seeds=SEEDS[[2, 0]]))
    assert torch.equal(whole[1:2], mdda.purify(x[1:2], seeds=SEEDS[1:2]))
    assert not torch.equal(whole, mdda.purify(x, seeds=SEEDS + 1))
    assert whole.shape == x.shape
    assert whole.dtype == x.dtype
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_rounds_share_the_noise():
    # Where nothing is denoised, the noises of all rounds add up to sigma2.
    for steps in (1, 4):
        plain = MDDA(steps, 0.01, gamma=1e6, iterations=1, scales=[1])
        out = plain.purify(torch.full((1, 3, 120, 120), 0.5), seeds=SEEDS[:1])
        assert out.var().item() == pytest.approx(0.01, rel=0.05)
    still = MDDA(3, 0.0, gamma=1e6, iterations=5, scales=["1/1"])
    x = images(1, 1, 8, 8)
    torch.testing.assert_close(still.purify(x, seeds=SEEDS[:1]), x, rtol=0, atol=1e-5)


def test_gradient_is_exact():
    x = images(1, 1, 7, 6).double().requires_grad_()
    mdda = MDDA(2, 0.02, iterations=5)
    assert torch.autograd.gradcheck(lambda x: mdda.purify(x, seeds=SEEDS[:1]), x)


def test_straight_through_answers_alike_and_passes_the_gradient_on():
    x, victim = images(2, 3, 16, 16), small_cnn()
    exact, through = (kind(2, iterations=5) for kind in (MDDA, StraightThroughMDDA))
    deployed = exact(x, victim, seeds=SEEDS[:2]).logits
    assert torch.equal(deployed, through(x, victim, seeds=SEEDS[:2]).logits)
    leaf = x.clone().requires_grad_()
    seen = through.proxy(leaf, victim, seeds=SEEDS[:2]).logits
    torch.testing.assert_close(seen, deployed)
    purified = exact.purify(x, seeds=SEEDS[:2]).requires_grad_()
    torch.testing.assert_close(
        torch.autograd.grad(seen[:, 0].sum(), leaf),
        torch.autograd.grad(victim(purified)[:, 0].sum(), purified),
    )


def test_attackers_who_know_are_not_weaker(blobs):
    victim, x, y = blobs
    seeds = sample_seeds(0, [str(i) for i in range(len(x))])
    mdda, attack = MDDA(2, 0.02, gamma=10, iterations=15), PGD(0.07, steps=8)

    def margin(surrogate: Surrogate) -> float:
        found = attack(surrogate, x, y, seeds=seeds)
        with torch.no_grad():
            return float(lead(mdda(found, victim, seeds=seeds).logits, y).mean())

    with torch.no_grad():
        clean = (mdda(x, victim, seeds=seeds).logits.argmax(1) == y).double().mean()
    oblivious = margin(VictimSurrogate(victim))
    exact = margin(MeanLossSurrogate(victim, mdda, 2, 64))
    straight = StraightThroughMDDA(2, 0.02, gamma=10, iterations=15)
    through = margin(MeanLossSurrogate(victim, straight, 2, 64))
    assert clean > 0.9
    assert exact < min(oblivious, through)


@pytest.fixture(scope="module")
def blobs() -> tuple[Victim, torch.Tensor, torch.Tensor]:
    """Noisy images with one of four corners lighter, and a network that finds which."""
    torch.manual_seed(0)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.randint(4, (count,))
        x = 0.4 + 0.1 * torch.randn(count, 3, 16, 16)
        for corner in range(4):
            rows, columns = 8 * (corner // 2), 8 * (corner % 2)
            x[y == corner, :, rows : rows + 8, columns : columns + 8] += 0.2
        return x.clamp(0, 1), y

    victim = small_cnn().train()
    for parameter in victim.parameters():
        parameter.requires_grad_()
    optimizer = torch.optim.Adam(victim.parameters(), lr=1e-2)
    for _ in range(60):
        x, y = draw(64)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(victim(x), y).backward()
        optimizer.step()
    return victim.freeze(), *draw(20)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"5x40 pixels are too small .*0\.25.* has 1x10.* 6x6"):
        MDDA().purify(images(1, 3, 5, 40), seeds=SEEDS[:1])
    MDDA(1, iterations=1).purify(images(1, 3, 6, 6), seeds=SEEDS[:1])
    with pytest.raises(NumberError, match=r"defense\.steps=0"):
        MDDA(0)
    with pytest.raises(NumberError, match=r"defense\.sigma2=-1"):
        MDDA(sigma2=-1)
    with pytest.raises(NumberError, match=r"defense\.gamma=0"):
        MDDA(gamma=0)
    with pytest.raises(NumberError, match=r"defense\.iterations=0"):
        MDDA(iterations=0)
    for scales in ([], [1, 1], [2, 1]):
        with pytest.raises(NumberError, match=r"must increase"):
            MDDA(scales=scales)
    with pytest.raises(NumberError, match=r"defense\.scales=0"):
        MDDA(scales=[0, 1])
