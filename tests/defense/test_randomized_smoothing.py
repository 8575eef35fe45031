"""Randomized smoothing: SciPy's bound, and a linear victim, whose radius has a closed form."""

import numpy as np
import pytest
import torch
from art.estimators.certification.randomized_smoothing import randomized_smoothing as art
from scipy.stats import binomtest, norm
from torch import nn

from medrobust.attack.pgd import PGD
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.median import Median
from medrobust.defense.randomized_smoothing import RandomizedSmoothing, lower_bound
from medrobust.model.core.victim import Victim
from medrobust.number import NumberError
from medrobust.rng import fold_in, sample_seeds
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.oblivious import Oblivious
from tests.support.clinic import clinic
from tests.support.helpers import LinearNetwork, small_cnn

COUNT = 24
IMAGES = torch.rand(COUNT, 3, 6, 6, generator=torch.Generator().manual_seed(3))
SEEDS = sample_seeds(0, [str(i) for i in range(COUNT)])


@pytest.mark.parametrize("alpha", [0.001, 0.05])
def test_bound_is_clopper_and_pearsons(alpha):
    for n in (1, 20, 10_000):
        hits = torch.tensor([0, 1, n // 3, n // 2 + 1, n]).clamp(max=n)
        expected = [
            binomtest(int(h), n, alternative="greater")
            .proportion_ci(confidence_level=1 - alpha, method="exact")
            .low
            for h in hits
        ]
        found = lower_bound(hits, n, alpha)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_all_votes_give_the_largest_radius():
    """alpha^(1/n) is the bound then; Cohen et al., figure 2: about 4 sigma at n = 100 000."""
    found = RandomizedSmoothing(0.5, 100_000).radius(torch.tensor([100_000, 50_000, 0]))
    assert found[0].item() == pytest.approx(0.5 * norm.ppf(0.001**1e-5))
    assert 3.7 < found[0] / 0.5 < 4
    assert found[1:].tolist() == [0, 0]


@pytest.fixture(scope="module")
def plane() -> tuple[Victim, torch.Tensor]:
    """A victim of two classes that a plane parts, and the images' distances from it."""
    network = LinearNetwork(108, 2)
    way = torch.randn(108, generator=torch.Generator().manual_seed(1))
    network.weight.data = torch.stack([0 * way, way / way.norm() * 0.3], 1)
    victim = Victim(network, mean=[0.5] * 3, std=[0.3] * 3, architecture={}).freeze()
    return victim, victim(IMAGES)[:, 1]


class Theirs(art.RandomizedSmoothingMixin):
    """ART's smoothing of one image, given our noisy copies: `first`, then `then`."""

    def __init__(self, defense, victim, x, seed, sample_size, *copies):
        super().__init__(sample_size, scale=defense.sigma, alpha=defense.alpha)
        self.defense, self.victim, self.x, self.seed = defense, victim, x, seed
        self.copies = list(copies)

    def _noisy_samples(self, x, n=None):
        copy = torch.arange(*self.copies.pop(0))
        assert len(copy) == (n or self.sample_size)
        seeds = fold_in(self.seed.expand(len(copy)), copy)
        return self.defense.sample(self.x.expand(len(copy), -1, -1, -1), seeds=seeds).numpy()

    def _predict_classifier(self, x, batch_size, training_mode, **kwargs):
        return self.victim(torch.from_numpy(x)).numpy()

    def _lower_confidence_bound(self, n_class_samples, n_total_samples):
        """As theirs, two-sided at twice the level; theirs needs statsmodels."""
        test = binomtest(int(n_class_samples), n_total_samples)
        return test.proportion_ci(1 - 2 * self.alpha, "exact").low

    def _fit_classifier(self, *args, **kwargs):
        raise AssertionError


def test_answer_and_radius_are_those_of_art(plane):
    """On the same copies, so few of them that some images are refused and some certified."""
    (victim, _), n, n0 = plane, 80, 15
    defense = RandomizedSmoothing(0.5, n, n0=n0, alpha=0.05)
    found = defense(IMAGES, victim, seeds=SEEDS)
    radius = found.details["certified_radius"]
    for i in range(COUNT):
        of = (defense, victim, IMAGES[i : i + 1], SEEDS[i : i + 1])
        image = IMAGES[i : i + 1].numpy()
        answer = Theirs(*of, n, (0, n)).predict(image)[0]
        assert bool(found.abstain[i]) == (answer.sum() == 0)
        if answer.any():
            assert found.label[i] == np.argmax(answer)
            wanted = Theirs(*of, n0, (n, n + n0), (0, n)).certify(image, n)[1]
            assert radius[i].item() == pytest.approx(wanted[0], rel=1e-9)
    assert 0 < found.abstain.sum() < COUNT
    assert (radius > 0).sum() > 0


def test_knowing_the_noise_makes_the_attacker_stronger():
    """Fewer votes for the true class than against an attack on the bare victim, whatever EOT."""
    victim, _, images, labels, _, seeds = clinic()
    x, y, seeds = images[:24], labels[:24], seeds[:24]
    defense = RandomizedSmoothing(0.25, 100, n0=1)
    shares = []
    for threat in (Oblivious(), Adaptive(8), Adaptive(8, eot="probability")):
        attacked = PGD(10 / 255, steps=8)(threat(victim, defense), x, y, seeds=fold_in(seeds, 1))
        votes = defense(attacked, victim, seeds=fold_in(seeds, 2)).logits.softmax(1)
        shares.append(votes.gather(1, y[:, None]).mean().item())
    assert shares[1] < shares[0] - 0.04
    assert shares[2] < shares[0] - 0.04


def test_radius_follows_the_closed_form(plane):
    """The victim gives class 1 with Phi(d / sigma), so that the exact radius is |d|."""
    victim, away = plane
    n, sigma = 4000, 0.25
    found = RandomizedSmoothing(sigma, n)(IMAGES, victim, seeds=SEEDS)
    radius = found.details["certified_radius"]
    answered = ~found.abstain
    assert answered.sum() > COUNT // 2
    assert torch.equal(found.label[answered], (away > 0).long()[answered])
    distance = away.abs().double()
    assert (radius <= distance).all()  # each wrong with chance 0.001
    share = torch.from_numpy(norm.cdf(distance.numpy() / sigma))
    spread = 5 * (share * (1 - share) / n).sqrt()
    for moved, within in ((share - spread, radius.ge), (share + spread, radius.le)):
        votes = (moved * n).clamp(0, n).long()
        expected = RandomizedSmoothing(sigma, n).radius(votes)
        assert within(expected)[answered].all()


def test_answer_holds_within_the_radius(plane):
    """Pushed straight to the plane by 0.95 of its radius, no image changes its class."""
    victim, away = plane
    defense = RandomizedSmoothing(0.25, 4000)
    found = defense(IMAGES, victim, seeds=SEEDS)
    radius = found.details["certified_radius"].float()
    x = IMAGES.clone().requires_grad_()
    (way,) = torch.autograd.grad(victim(x)[:, 1].sum(), x)
    way = way / way.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * -away.sign().view(-1, 1, 1, 1)
    pushed = IMAGES + 0.95 * radius.view(-1, 1, 1, 1) * way
    after = defense(pushed, victim, seeds=SEEDS)
    certified = radius > 0
    assert certified.any()
    assert torch.equal(after.label[certified], found.label[certified])


def test_nothing_is_promised_on_the_plane():
    network = LinearNetwork(1, 2)
    network.weight.data = torch.tensor([[0.0, 1.0]])
    victim = Victim(network, mean=[0.5], std=[1.0], architecture={}).freeze()
    x = torch.full((40, 1, 1, 1), 0.5)
    seeds = sample_seeds(5, [str(i) for i in range(40)])
    found = RandomizedSmoothing(0.25, 500)(x, victim, seeds=seeds)
    assert found.abstain.sum() >= 38
    assert (found.details["certified_radius"][found.abstain] == 0).all()


def test_a_radius_belongs_to_the_answer():
    found = RandomizedSmoothing(0.5, 200, n0=3)(IMAGES, small_cnn(), seeds=SEEDS)
    held = found.details["certified_radius"] > 0
    assert held.any()
    assert (found.logits.softmax(1).amax(1)[held] > 0.5).all()
    assert not (held & found.abstain).any()


class Spy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.clone())
        return x.flatten(1)[:, :4]


def copies(defense: RandomizedSmoothing, x: torch.Tensor) -> torch.Tensor:
    spy = Spy()
    victim = Victim(spy, mean=[0.0] * 3, std=[1.0] * 3, architecture={}).freeze()
    defense(x, victim, seeds=SEEDS[: len(x)])
    return torch.cat(spy.seen)


def test_choice_and_estimate_use_copies_of_their_own():
    found = copies(RandomizedSmoothing(0.25, 40, n0=20), IMAGES[:2])
    assert len(found) == 120
    assert len(torch.unique(found.flatten(1), dim=0)) == 120


def test_noise_is_gaussian_and_not_clipped():
    found = copies(RandomizedSmoothing(0.25, 300), torch.ones(1, 3, 6, 6))
    assert found.mean().item() == pytest.approx(1, abs=0.01)
    assert found.std().item() == pytest.approx(0.25, rel=0.02)
    view = RandomizedSmoothing(0.25).view(IMAGES, seeds=SEEDS)
    assert 0 <= view.min() < view.max() <= 1


def test_denoiser_sees_images_and_passes_gradients():
    assert copies(RandomizedSmoothing(0.5, 30, denoiser=Median()), IMAGES[:2]).max() <= 1
    levels = torch.unique(copies(RandomizedSmoothing(0.5, 30, denoiser=BitDepth(1)), IMAGES[:2]))
    assert levels.tolist() == [0, 1]
    victim = small_cnn()
    for denoiser in (None, Median(), BitDepth(1)):
        x = IMAGES[:4].clone().requires_grad_()
        defense = RandomizedSmoothing(0.1, denoiser=denoiser)
        defense.proxy(x, victim, seeds=SEEDS[:4]).logits[:, 0].sum().backward()
        assert (x.grad.flatten(1).norm(dim=1) > 0).all()


def test_chunk_changes_nothing():
    victim = small_cnn()
    found = [
        RandomizedSmoothing(0.25, 50, chunk=chunk)(IMAGES, victim, seeds=SEEDS)
        for chunk in (512, 17)
    ]
    assert torch.equal(found[0].logits, found[1].logits)
    assert torch.equal(*(item.details["certified_radius"] for item in found))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sigma": 0}, r"defense\.sigma=0"),
        ({"copies": 0}, r"defense\.copies=0"),
        ({"n0": 0}, r"defense\.n0=0"),
        ({"alpha": 0}, r"defense\.alpha=0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(NumberError, match=message):
        RandomizedSmoothing(**settings)
