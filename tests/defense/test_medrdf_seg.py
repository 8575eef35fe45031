"""The vote per pixel: a slow loop with SciPy's test, MedRDF's vote, known victims, bad input."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, norm
from torch import Tensor, nn

from medrobust.defense.gaussian_smoothing import GaussianSmoothing
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.medrdf_seg import MedRDFSeg
from medrobust.defense.noise.additive import GaussianNoise, PoissonNoise, SaltPepperNoise
from medrobust.defense.noise.augmentation import Resizing, Rotation
from medrobust.defense.none import NoDefense
from medrobust.defense.random_resize_pad import RandomResizePad
from medrobust.defense.randomized_smoothing import RandomizedSmoothing
from medrobust.model.core.victim import Victim
from medrobust.number import NumberError
from medrobust.rng import fold_in, sample_seeds

IMAGES = torch.rand(5, 3, 8, 6, generator=torch.Generator().manual_seed(3))
SEEDS = sample_seeds(0, [str(i) for i in range(5)])


class Pixels(nn.Module):
    """Three logits at each pixel, of the pixel's own colours: the same bits in any batch."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(4 * torch.randn(classes, 3, 1, 1, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return (x.unsqueeze(1) * self.weight).sum(2)


def pixels(classes: int = 3) -> Victim:
    return Victim(Pixels(classes), mean=[0.5] * 3, std=[0.3] * 3, architecture={}).freeze()


def slowly(defense: MedRDFSeg, x: Tensor, victim: Victim, seeds: Tensor, level: float) -> dict:
    """One image, one copy, one pixel at a time."""
    images, classes = [], victim(x[:1]).shape[1]
    for image, seed in zip(x.split(1), seeds.split(1), strict=True):
        votes = np.zeros((classes, *x.shape[2:]), dtype=int)
        for copy in range(defense.copies):
            seen = defense.denoiser.purify(
                defense.noise(image, seeds=fold_in(seed, copy)), seeds=fold_in(seed, copy)
            )
            label = victim(seen)[0].argmax(0).numpy()
            for place in np.ndindex(*label.shape):
                votes[(label[place], *place)] += 1
        label, abstain, rm = (np.zeros(x.shape[2:]) for _ in range(3))
        for place in np.ndindex(*x.shape[2:]):
            here = votes[(slice(None), *place)]
            order = np.argsort(-here, kind="stable")
            a, b = here[order[0]], here[order[1]]
            label[place] = order[0]
            abstain[place] = binomtest(int(a), int(a + b)).pvalue > level
            rm[place] = classes * (a - b) / defense.copies
        images.append((label, abstain, rm))
    found = [np.stack(part) for part in zip(*images, strict=True)]
    return dict(zip(("label", "abstain", "rm"), found, strict=True))


@pytest.mark.parametrize(
    ("noise", "denoiser"),
    [(GaussianNoise(0.3), NoDefense()), (SaltPepperNoise(0.4), Median()), (PoissonNoise(2), None)],
)
@pytest.mark.parametrize(("k", "level"), [(1, 0.05 / 48), (7, 0.05 * 7 / 48), (None, 0.05)])
def test_equals_a_slow_loop_over_pixels(noise, denoiser, k, level):
    denoiser = denoiser or GaussianSmoothing()
    defense = MedRDFSeg(noise, denoiser, copies=30, alpha=0.05, k=k, chunk=17)
    victim = pixels()
    found = defense(IMAGES[:2], victim, seeds=SEEDS[:2])
    expected = slowly(defense, IMAGES[:2], victim, SEEDS[:2], level)
    np.testing.assert_array_equal(found.label.numpy(), expected["label"])
    np.testing.assert_array_equal(found.abstain.numpy(), expected["abstain"])
    np.testing.assert_allclose(found.confidence_map.numpy(), expected["rm"], rtol=1e-6)
    np.testing.assert_allclose(found.confidence, expected["rm"].mean((1, 2)), rtol=1e-5)
    robust = (expected["rm"] >= 1) & (expected["abstain"] == 0)
    np.testing.assert_allclose(found.details["rm_robust"], robust.mean((1, 2)), rtol=1e-6)
    assert 0 < expected["abstain"].mean() < 1


def test_a_mask_of_one_pixel_is_medrdf():
    """Of one pixel, or of a classifier: the votes, the test and RM are the fixed vote's."""
    x, victim = IMAGES[:, :, :1, :1], pixels()
    noise = GaussianNoise(0.4)
    dense = MedRDFSeg(noise, NoDefense(), copies=40, alpha=0.01)

    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return victim.network(x).flatten(1)

    flat = Victim(Flat(), mean=[0.5] * 3, std=[0.3] * 3, architecture={}).freeze()
    expected = MedRDF(noise, NoDefense(), copies=40, alpha=0.01)(x, flat, seeds=SEEDS)
    for found in (dense(x, victim, seeds=SEEDS), dense(x, flat, seeds=SEEDS)):
        assert torch.equal(found.logits.flatten(1), expected.logits)
        assert torch.equal(found.abstain.flatten(), expected.abstain)
        assert torch.equal(found.confidence, expected.confidence)
    assert expected.abstain.any()
    assert not expected.abstain.all()


def test_votes_follow_the_closed_form():
    """Threshold at 0.5 under Gaussian noise: the share of class 1 is a normal tail."""

    class Threshold(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([torch.zeros_like(x), x], 1)

    victim = Victim(Threshold(), mean=[0.5], std=[1.0], architecture={}).freeze()
    values = torch.linspace(0.35, 0.65, 12).view(1, 1, 3, 4)
    found = MedRDFSeg(GaussianNoise(0.1), NoDefense(), copies=4000)(values, victim, seeds=SEEDS[:1])
    expected = norm.sf((0.5 - values[0, 0].numpy()) / 0.1)
    share = found.logits.softmax(1)[0, 1].numpy()
    np.testing.assert_allclose(share, expected, atol=4 * math.sqrt(0.25 / 4000))
    np.testing.assert_allclose(found.confidence_map[0], 2 * np.abs(2 * expected - 1), atol=0.13)


def test_few_images_have_k_wrong_pixels():
    """Votes near a tie, where the leader is often the wrong class: the rule must abstain."""
    generator, n, images, alpha = np.random.default_rng(0), 60, 3000, 0.1
    true = generator.binomial(n, 0.505, (images, 8, 8))
    counts = torch.from_numpy(np.stack([n - true, true], 1))
    wrong = {}
    for k in (1, 4, None):
        found = MedRDFSeg(GaussianNoise(), NoDefense(), copies=n, alpha=alpha, k=k).decide(counts)
        wrong[k] = ((found.label == 0) & ~found.abstain).flatten(1).sum(1)
    spread = math.sqrt(alpha / images)
    assert (wrong[1] >= 1).double().mean() < alpha + 3 * spread
    assert (wrong[4] >= 4).double().mean() < alpha + 3 * spread
    assert wrong[None].double().mean() / 64 < alpha
    assert (wrong[None] >= 4).double().mean() > alpha  # what the correction is for
    assert wrong[1].sum() < wrong[4].sum() < wrong[None].sum()


def test_the_same_in_any_batch_and_chunk():
    victim, noise = pixels(), SaltPepperNoise(0.3)
    whole = MedRDFSeg(noise, Median(), copies=20, alpha=0.01)(IMAGES, victim, seeds=SEEDS)
    other = MedRDFSeg(noise, Median(), copies=20, alpha=0.01, chunk=7)
    for part in (slice(0, 1), slice(1, 5)):
        found = other(IMAGES[part], victim, seeds=SEEDS[part])
        for name in ("logits", "abstain", "confidence", "confidence_map"):
            assert torch.equal(getattr(found, name), getattr(whole, name)[part])
    assert other.fingerprint == MedRDFSeg(noise, Median(), copies=20, alpha=0.01).fingerprint
    assert other.fingerprint != MedRDFSeg(noise, Median(), copies=20, alpha=0.01, k=2).fingerprint


def test_memory_is_bounded_by_the_chunk():
    sizes: list[int] = []
    victim = pixels()
    handle = victim.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    MedRDFSeg(GaussianNoise(), NoDefense(), copies=50, chunk=16)(IMAGES, victim, seeds=SEEDS)
    handle.remove()
    assert max(sizes) == 16
    assert sum(sizes) == 250


def test_gradient_of_a_copy_is_that_of_finite_differences():
    x = (0.2 + 0.6 * IMAGES[:1, :, :4, :4].double()).requires_grad_()
    victim = pixels().double()
    defense = MedRDFSeg(GaussianNoise(0.02), GaussianSmoothing(), copies=1)
    assert torch.autograd.gradcheck(
        lambda x: defense.proxy(x, victim, seeds=SEEDS[:1]).logits, x, eps=1e-7
    )


def test_what_moves_pixels_is_refused():
    for noise, denoiser in ((Rotation(), NoDefense()), (GaussianNoise(), RandomResizePad())):
        with pytest.raises(ValueError, match=r"moves pixels.*defense/noise=gaussian"):
            MedRDFSeg(noise, denoiser, copies=4)
    MedRDFSeg(Resizing(), NoDefense(), copies=4)  # back in its place


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"copies": 0}, "defense.copies=0"),
        ({"alpha": 0}, "defense.alpha=0"),
        ({"k": 0}, "defense.k=0"),
        ({"chunk": 0}, "defense.chunk=0"),
        ({"rm_threshold": -1}, "defense.rm_threshold=-1"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(NumberError, match=message):
        MedRDFSeg(GaussianNoise(), NoDefense(), **arguments)


def test_an_impossible_threshold_is_refused():
    defense = MedRDFSeg(GaussianNoise(), NoDefense(), copies=40, rm_threshold=3)
    with pytest.raises(ValueError, match=r"defense\.rm_threshold=3 cannot be exceeded with 3"):
        defense(IMAGES, pixels(), seeds=SEEDS)


@pytest.mark.parametrize(
    "defense", [MedRDF(GaussianNoise(), NoDefense(), copies=4), RandomizedSmoothing(copies=4)]
)
def test_votes_on_classes_say_what_takes_masks(defense):
    with pytest.raises(ValueError, match=r"not on masks; set defense=medrdf_seg"):
        defense(IMAGES, pixels(), seeds=SEEDS)


def test_too_few_copies_to_answer_anything_say_how_many_it_takes():
    defense = MedRDFSeg(GaussianNoise(), NoDefense(), copies=16)
    with pytest.raises(
        ValueError, match=r"defense\.copies=16 .* set copies=17 or more, or raise defense"
    ):
        defense(IMAGES, pixels(), seeds=SEEDS)
    assert not MedRDFSeg(GaussianNoise(0.0), NoDefense(), copies=17)(
        IMAGES, pixels(), seeds=SEEDS
    ).abstain.any()
