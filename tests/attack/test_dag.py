from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.norm import distance
from medrobust.attack.core.target import Target
from medrobust.attack.criterion.jaccard_below import JaccardBelow
from medrobust.attack.dag import DAG
from medrobust.attack.pgd import PGD
from medrobust.attack.target.least_likely import LeastLikely
from medrobust.attack.target.most_likely import MostLikely
from medrobust.attack.target.next_class import NextClass
from medrobust.attack.target.random_class import RandomClass
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Purifier
from medrobust.evaluation.adversarial import adversarial_set
from medrobust.evaluation.batches.runner import Runner
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.rng import normal
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.peers import adv_lib

CONF = Path(__file__).parents[2] / "conf"
EPS = 8 / 255
COUNT = 9
Wrap = Callable[..., VictimSurrogate]


@pytest.fixture(scope="module")
def batch(pixel_surrogate: VictimSurrogate) -> tuple[Tensor, Tensor, Tensor]:
    """Images with a black border, and the masks that the model gives them."""
    x = torch.rand(COUNT, 3, 10, 14, generator=torch.Generator().manual_seed(8))
    x[:, :, :2] = 0.0
    with torch.no_grad():
        return x, pixel_surrogate.victim(x).argmax(1), torch.arange(COUNT)


def wrong(victim: Victim, x: Tensor, y: Tensor) -> Tensor:
    """Share of wrong pixels per image."""
    with torch.no_grad():
        return (victim(x).argmax(1) != y).double().flatten(1).mean(1)


def slowly(
    victim: Victim, x: Tensor, y: Tensor, adversarial: Tensor, eps: float, steps: int, gamma: float
) -> Tensor:
    """The algorithm image by image and pixel by pixel; the iterate with the best sum is kept."""
    found = []
    for image, mask, other in zip(x, y, adversarial, strict=True):
        point, best, highest, is_right = image.clone(), image, -torch.inf, True
        for step in range(steps + 1):
            point = point.detach().requires_grad_()
            logits = victim(point[None])[0]
            total, right = torch.zeros(()), False
            for row in range(mask.shape[0]):
                for column in range(mask.shape[1]):
                    pixel = logits[:, row, column]
                    if pixel.argmax() == mask[row, column]:
                        right = True
                        total = total + pixel[other[row, column]] - pixel[mask[row, column]]
            if step and (total >= highest or not right):
                best, highest, is_right = point.detach(), float(total.detach()), right
            if step == steps or (step and not is_right):
                break
            (r,) = torch.autograd.grad(total, point)
            with torch.no_grad():
                point = point + gamma * r / r.abs().max()
                point = torch.min(torch.max(point, image - eps), image + eps).clamp(0, 1)
        found.append(best)
    return torch.stack(found)


def test_equals_a_slow_loop_over_pixels(
    pixel_surrogate: VictimSurrogate, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, seeds = (part[:3] for part in batch)
    found = DAG(EPS, steps=6, step_size="4/255", labels=NextClass())(
        pixel_surrogate, x, y, seeds=seeds
    )
    slow = slowly(pixel_surrogate.victim, x, y, (y + 1) % 3, EPS, steps=6, gamma=4 / 255)
    torch.testing.assert_close(found, slow, atol=1e-6, rtol=0)
    assert wrong(pixel_surrogate.victim, found, y).mean() > 0.02


class TwoClasses(nn.Module):
    """A small network per pixel for two classes."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            self.layers = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 2, 3, padding=1)
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_equals_adv_lib_on_two_classes(wrap: Wrap) -> None:
    """Theirs has no budget, a margin to the best other class, which with two classes is the
    other one, counts an image as done from 99 % of its pixels on (here all), and returns the
    clean image where that is never so; and it walks on outside [0, 1], so the images are grey.
    """
    surrogate = wrap(TwoClasses())
    x = 0.45 + 0.1 * torch.rand(6, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        y = surrogate.victim(x).argmax(1)
    theirs = adv_lib().segmentation.dag(
        surrogate.victim, x, y, max_iter=61, γ=5 / 255, p=float("inf"), adv_threshold=1.0
    )
    ours = DAG(1, steps=60, step_size="5/255")(surrogate, x, y, seeds=torch.arange(6))
    done = wrong(surrogate.victim, theirs, y) == 1
    assert done.sum() >= 3
    assert 0 < theirs.amin() < theirs.amax() < 1
    torch.testing.assert_close(ours[done], theirs[done], atol=2e-6, rtol=0)


def test_finishes_where_the_budget_allows_it(
    pixel_surrogate: VictimSurrogate, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    """PGD on the mean cross-entropy leaves pixels; most likely classes are nearer than random."""
    x, y, seeds = batch
    victim = pixel_surrogate.victim

    def share(attack: Attack) -> Tensor:
        return wrong(victim, attack(pixel_surrogate, x, y, seeds=seeds), y)

    pgd = share(PGD(0.5, steps=100))
    random, likely = (share(DAG(0.5, steps=100, labels=rule)) for rule in (None, MostLikely()))
    assert (pgd < 1).all()
    assert (random > pgd).all()
    assert random.mean() > 0.97
    assert (likely == 1).float().mean() > 0.7
    tight = [share(DAG(EPS, steps=100, labels=rule)).mean() for rule in (None, MostLikely())]
    assert 0.05 < tight[0] < tight[1]


def test_budget_and_its_growth(
    pixel_surrogate: VictimSurrogate, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, seeds = batch
    found = [DAG(eps, steps=20)(pixel_surrogate, x, y, seeds=seeds) for eps in (EPS, 4 * EPS)]
    used = [distance(x, part, "linf") for part in found]
    assert used[0].max() <= EPS
    assert (used[0] / EPS).min() > 0.99
    shares = [wrong(pixel_surrogate.victim, part, y) for part in found]
    assert (shares[1] > shares[0] + 0.1).all()


def test_an_image_leaves_when_nothing_is_right(
    pixel_surrogate: VictimSurrogate, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, seeds = batch
    y = y.clone()
    y[:3] = (y[:3] + 1) % 3  # wrong everywhere from the start
    seen: list[int] = []
    handle = pixel_surrogate.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    found = DAG(EPS, steps=4)(pixel_surrogate, x, y, seeds=seeds)
    handle.remove()
    assert seen == [COUNT] * 3 + [COUNT - 3] * 3  # labels, first look, look at the first step
    assert torch.equal(found[:3], x[:3])
    assert (found[3:] != x[3:]).flatten(1).any(1).all()


def test_another_success_ends_it_earlier(
    pixel_surrogate: VictimSurrogate, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, seeds = batch
    eps = 96 / 255
    early = DAG(eps, steps=50, criterion=JaccardBelow(0.5))(pixel_surrogate, x, y, seeds=seeds)
    late = DAG(eps, steps=50)(pixel_surrogate, x, y, seeds=seeds)
    done = JaccardBelow(0.5).away(Prediction(pixel_surrogate.victim(early)), y)
    assert done.all()
    assert distance(x, early, "l2").max() < distance(x, late, "l2").min()


@pytest.mark.parametrize("rule", [NextClass(), LeastLikely()])
def test_targeted_brings_every_pixel_to_its_target(
    rule: Target, pixel_surrogate: VictimSurrogate, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, seeds = batch
    target = rule(pixel_surrogate.victim(x), y, seeds)
    found = DAG(1, steps=150, target=rule)(pixel_surrogate, x, y, seeds=seeds)
    left = wrong(pixel_surrogate.victim, found, target)
    assert wrong(pixel_surrogate.victim, x, target).min() == 1
    assert left.max() < 0.05
    assert (left == 0).any()


def test_seeds_choose_the_adversarial_classes(
    pixel_surrogate: VictimSurrogate, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, _ = batch
    seeds = torch.arange(100, 100 + COUNT)
    shift = (RandomClass()(pixel_surrogate.victim(x), y, seeds) - y) % 3
    assert (shift == shift[:, :1, :1]).all()  # one other class for each class of an image
    assert len(shift[:, 0, 0].unique()) == 2
    found = DAG(EPS, steps=3)(pixel_surrogate, x, y, seeds=seeds)
    torch.manual_seed(5)
    assert torch.equal(found, DAG(EPS, steps=3)(pixel_surrogate, x, y, seeds=seeds))
    assert not torch.equal(found, DAG(EPS, steps=3)(pixel_surrogate, x, y, seeds=seeds + 7))


def test_batch_and_dtype(wrap: Wrap, batch: tuple[Tensor, Tensor, Tensor]) -> None:
    """Alone as in the batch, bit for bit up to the convolution's own rounding; other dtypes."""
    surrogate = wrap(TwoClasses())
    attack = DAG(2 * EPS, steps=16)
    for dtype in (torch.bfloat16, torch.float64):
        surrogate.to(dtype)
        x = batch[0].to(dtype).contiguous(memory_format=torch.channels_last)
        y = surrogate.victim(x).argmax(1)
        found = attack(surrogate, x, y, seeds=batch[2])
        assert found.dtype == dtype
        assert distance(x, found, "linf").max() <= 2 * EPS
        assert wrong(surrogate.victim, found, y).mean() > 0.05
    alone = [attack(surrogate, x[[i]], y[[i]], seeds=batch[2][[i]]) for i in range(COUNT)]
    torch.testing.assert_close(torch.cat(alone), found, atol=1e-9, rtol=0)


class Noisy(Purifier):
    random = True

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        return (x + 0.02 * normal(seeds, x.shape[1:])).clamp(0, 1)


def test_behind_a_random_defense_and_in_reduced_precision(
    wrap: Wrap, batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, y, seeds = batch
    victim = wrap(TwoClasses()).victim.accelerate()
    y = victim(x).argmax(1)
    for surrogate in (
        Adaptive(eot_samples=3)(victim, Noisy()),
        ReducedPrecision(VictimSurrogate(victim)),
    ):
        found = DAG(2 * EPS, steps=16)(surrogate, x, y, seeds=seeds)
        assert distance(x, found, "linf").max() <= 2 * EPS
        assert wrong(victim, found, y).mean() > 0.05


def test_through_an_evaluations_checks(
    pixel_surrogate: VictimSurrogate, batch: tuple[Tensor, Tensor, Tensor], tmp_path: Path
) -> None:
    x, y, _ = batch
    made = adversarial_set(
        pixel_surrogate,
        DAG(8 * EPS, steps=20),
        ImageSet(x, y, tuple(map(str, range(COUNT)))),
        Runner(torch.device("cpu"), 4, TensorCache(tmp_path)),
        seed=0,
        quantize=False,
    )
    assert made.checks["zero_gradient"] == 0
    assert made.checks["surrogate_adversarial"] < made.checks["surrogate_clean"] == 1


def test_a_classifier_is_refused(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    with pytest.raises(AttackError, match=r"segmentation and detection.*another attack such as"):
        DAG(EPS, steps=2)(surrogate, images, labels, seeds=seeds)


def test_step_size() -> None:
    assert DAG(EPS, steps=200).step_size == pytest.approx(0.4 / 255)
    assert DAG(EPS, steps=5).step_size == EPS
    for wrong_one in ({"steps": 0}, {"steps": 3, "step_size": 0}, {"steps": 3, "eps": 2}):
        with pytest.raises(ValueError, match=r"attack\."):
            DAG(**{"eps": EPS, **wrong_one})


def test_config() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        made = [
            instantiate(compose(overrides=["+attack=dag", *more]).attack)
            for more in (
                [],
                ["attack/target@attack.labels=most_likely"],
                ["attack/target=next_class"],
            )
        ]
    assert all(type(attack) is DAG for attack in made)
    assert [type(attack.loss.labels) for attack in made] == [
        RandomClass,
        MostLikely,
        RandomClass,
    ]
    assert [type(attack.target) for attack in made] == [type(None), type(None), NextClass]
    assert (made[0].eps, made[0].steps) == (EPS, 200)
