import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor
from torch.nn import functional as F

from medrobust.attack.bim import BIM
from medrobust.attack.core.ball import LinfBall
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.iterated import Iterate
from medrobust.attack.criterion.jaccard_below import JaccardBelow
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.fgsm import FGSM
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.margin import Margin
from medrobust.attack.smia import SMIA
from medrobust.attack.target.least_likely import LeastLikely
from medrobust.metric.perturbation import variance
from medrobust.model.core.victim import Victim
from medrobust.rng import fold_in, normal
from medrobust.threat.mean_loss import MeanLossSurrogate
from medrobust.threat.surrogate import Gradient, Surrogate, VictimSurrogate
from tests.support.toys import Noise

CONF = str(Path(__file__).parents[2] / "conf")
EPS = 2 / 255


@pytest.mark.parametrize("early", [False, True])
def test_without_alpha_it_is_bim(
    early: bool, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, s = images[:40], labels[:40], seeds[:40]
    plain = BIM(EPS, steps=5, early_stop=early)(surrogate, x, y, seeds=s)
    assert torch.equal(
        plain, SMIA(EPS, steps=5, alpha=0, early_stop=early)(surrogate, x, y, seeds=s)
    )


def test_the_first_step_is_fgsm(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, s = images[:40], labels[:40], seeds[:40]
    one = SMIA(EPS, steps=1, alpha=100)(surrogate, x, y, seeds=s)
    assert torch.equal(one, FGSM(EPS)(surrogate, x, y, seeds=s))
    two = [SMIA(EPS, steps=2, alpha=a)(surrogate, x, y, seeds=s) for a in (0, 100)]
    assert not torch.equal(*two)


def blur(perturbation: Tensor, size: int, sigma: float) -> Tensor:
    """By the library's convolution, zeros outside."""
    axis = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weight = torch.exp(-(axis[:, None] ** 2 + axis[None] ** 2) / (2 * sigma**2))
    channels = perturbation.shape[1]
    weight = (weight / weight.sum()).expand(channels, 1, size, size)
    return F.conv2d(perturbation, weight, padding=size // 2, groups=channels)


def by_hand(
    logits: Any, x: Tensor, point: Tensor, y: Tensor, alpha: float, through: bool
) -> tuple[Tensor, Tensor]:
    """L_DEV, and the gradient of L_DEV - alpha * sum_k -q_k log p_k, all in one graph."""
    leaf = point.clone().requires_grad_()
    with torch.enable_grad():
        smoothed = (x + blur(leaf - x, 5, 1.5)).clamp(0, 1)
        here, there = logits(leaf), logits(smoothed)
        q = there.softmax(1) if through else there.softmax(1).detach()
        deviation = -here.log_softmax(1).gather(1, y.unsqueeze(1)).squeeze(1)
        change = -(q * here.log_softmax(1)).sum(1)
        loss = deviation - alpha * change
        if loss.ndim > 1:
            loss, deviation = loss.flatten(1).mean(1), deviation.flatten(1).mean(1)
        (grad,) = torch.autograd.grad(loss.sum(), leaf)
    return deviation.detach(), grad


def look(attack: SMIA, surrogate: Surrogate, x: Tensor, point: Tensor, goal: Goal) -> Gradient:
    with torch.no_grad():
        memory, seeds = torch.zeros(len(x), 0), torch.arange(len(x))
        return attack.gradient(surrogate, Iterate(point, goal, LinfBall(x, 0.1), memory, seeds))


def near(x: Tensor) -> Tensor:
    """Images around `x` by up to 0.1, some of which a blurred perturbation takes out of [0, 1]."""
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(3), dtype=x.dtype)
    return (x + 0.2 * (noise - 0.5)).clamp(0, 1)


@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize("alpha", [0.75, 1.25])
def test_gradient_of_equation_4(
    through: bool, alpha: float, victim: Victim, images: Tensor, labels: Tensor
) -> None:
    double = VictimSurrogate(copy.deepcopy(victim).double())
    x, y = images[:12].double(), labels[:12]
    x[:, :, :4] = x[:, :, :4].round()  # black and white
    point = near(x)
    attack = SMIA(0.1, steps=2, alpha=alpha, kernel_size=5, sigma=1.5, through_smoothed=through)
    seen = look(attack, double, x, point, Goal(CrossEntropy(), Misclassified(), y))
    loss, grad = by_hand(double.victim, x, point, y, alpha, through)
    torch.testing.assert_close(seen.grad, grad, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(seen.loss, loss)
    assert torch.equal(seen.reached, double.victim(point).argmax(1) != y)
    blurred = x + blur(point - x, 5, 1.5)
    assert blurred.amin() < 0 or blurred.amax() > 1  # so that the cut is tested


def test_gradient_on_masks(pixel_surrogate: VictimSurrogate) -> None:
    generator = torch.Generator().manual_seed(8)
    x = torch.rand(5, 3, 9, 14, generator=generator)
    y = torch.randint(3, (5, 9, 14), generator=generator)
    point = near(x)
    attack = SMIA(0.1, steps=2, kernel_size=5, sigma=1.5, through_smoothed=True)
    seen = look(attack, pixel_surrogate, x, point, Goal(CrossEntropy(), JaccardBelow(), y))
    victim = pixel_surrogate.victim

    def logits(z: Tensor) -> Tensor:
        return victim(z.float()).double()

    loss, grad = by_hand(logits, x.double(), point.double(), y, 1.0, True)
    torch.testing.assert_close(seen.grad.double(), grad, rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(seen.loss.double(), loss, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chunk", [1000, 1])
def test_a_random_defense_is_averaged_over_draws_that_both_images_share(
    chunk: int, victim: Victim, images: Tensor, labels: Tensor
) -> None:
    surrogate = MeanLossSurrogate(victim, Noise(), eot_samples=3, chunk=chunk)
    x, y, seeds = images[:6], labels[:6], torch.arange(6)
    point = near(x)
    attack = SMIA(0.1, steps=2, kernel_size=5, sigma=1.5, through_smoothed=True)
    seen = look(attack, surrogate, x, point, Goal(CrossEntropy(), Misclassified(), y))
    losses, grads = [], []
    for draw in range(3):
        noise = 0.1 * normal(fold_in(seeds, draw), x.shape[1:])

        def logits(z: Tensor, noise: Tensor = noise) -> Tensor:
            return victim(z.float() + noise).double()

        loss, grad = by_hand(logits, x.double(), point.double(), y, 1.0, True)
        losses.append(loss)
        grads.append(grad)
    torch.testing.assert_close(
        seen.loss.double(), torch.stack(losses).mean(0), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(seen.grad.double(), torch.stack(grads).mean(0), rtol=1e-3, atol=1e-6)


def test_another_objective_deviates_and_ranks(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor
) -> None:
    x, y = images[:8], labels[:8]
    point = near(x)
    goal = Goal(Margin(), Misclassified(), y)
    seen = look(SMIA(0.1, steps=2), surrogate, x, point, goal)
    value, _ = surrogate.value(point, goal, seeds=torch.arange(8))
    torch.testing.assert_close(seen.loss, value)


def test_smoothing_through_lowers_the_variance(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, s = images[:60], labels[:60], seeds[:60]
    plain = BIM(EPS, steps=10)(surrogate, x, y, seeds=s)
    smooth = SMIA(EPS, steps=10, through_smoothed=True)(surrogate, x, y, seeds=s)
    assert variance(x, smooth, EPS).mean() < 0.5 * variance(x, plain, EPS).mean()


def test_a_constant_smoothed_prediction_is_as_strong_as_bim(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """The default of the open choice; the other one is weaker here."""
    right = [
        (surrogate.victim(attack(surrogate, images, labels, seeds=seeds)).argmax(1) == labels).sum()
        for attack in (
            BIM("3/255", steps=10),
            SMIA("3/255", steps=10),
            SMIA("3/255", steps=10, through_smoothed=True),
        )
    ]
    assert right[1] <= right[0] + 2
    assert right[2] > right[1] + 10


def test_the_model_sees_images_only(
    victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    spans: list[Tensor] = []
    handle = victim.register_forward_pre_hook(
        lambda _, inputs: spans.extend(inputs[0].detach().aminmax())
    )
    x = images[:20].round()
    SMIA(0.1, steps=4)(VictimSurrogate(victim), x, labels[:20], seeds=seeds[:20])
    handle.remove()
    assert min(spans) >= 0
    assert max(spans) <= 1


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        ({"alpha": -1}, r"attack\.alpha=-1"),
        ({"kernel_size": 4}, "kernel size 4"),
        ({"kernel_size": 0}, r"attack\.kernel_size=0"),
        ({"sigma": 0}, r"attack\.sigma=0"),
    ],
)
def test_bad_settings_are_refused(bad: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        SMIA(EPS, steps=10, **bad)


def test_config() -> None:
    with initialize_config_dir(CONF, version_base="1.3"):
        overrides = ["+attack=smia", "attack/target=least_likely", "attack/loss=margin"]
        attack = instantiate(compose(overrides=overrides).attack)
    assert isinstance(attack, SMIA)
    assert (attack.eps, attack.steps, attack.alpha) == (8 / 255, 10, 1.0)
    assert isinstance(attack.target, LeastLikely)
    assert isinstance(attack.loss, Margin)
