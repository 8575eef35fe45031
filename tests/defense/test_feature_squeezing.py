import copy

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.stand_in import stand_ins
from medrobust.defense.feature_squeezing import FeatureSqueezing
from medrobust.defense.median import Median
from medrobust.defense.random_resize_pad import RandomResizePad
from medrobust.threat.adaptive import Adaptive
from tests.support.clinic import TAPS, clinic
from tests.support.helpers import linear_victim


def fitted(*squeezers, **settings) -> FeatureSqueezing:
    detector = FeatureSqueezing(squeezers or [BitDepth(5), Median(3)], **settings)
    detector.fit(clinic().victim, clinic().data)
    return detector.eval()


def softmax(victim, x) -> np.ndarray:
    logits = victim(x).detach().double().numpy()
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_largest_distance_between_the_answers():
    detector, (victim, _, clean, _, attacked, seeds) = fitted(), clinic()
    for x in (clean, attacked):
        answers = [
            softmax(victim, y) for y in (x, *(s.purify(x, seeds=seeds) for s in detector.squeezers))
        ]
        expected = np.max([np.abs(answers[0] - other).sum(1) for other in answers[1:]], axis=0)
        found = detector(x, victim, seeds=seeds)
        np.testing.assert_allclose(found.score.detach(), expected, atol=1e-5)
        assert torch.equal(found.logits, victim(x))


def test_distances_of_sure_answers_keep_their_digits():
    """Float32 probabilities of margins above 17 are 1 and 0, whatever the squeezer changed."""
    x = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    victim, squeezer, seeds = linear_victim(), BitDepth(5), torch.arange(40)
    victim.network.weight.data *= 6
    detector = FeatureSqueezing([squeezer])
    found = detector.anomaly(detector.observe(x, victim, seeds=seeds)).detach()
    wide = [
        victim(y).detach().numpy().astype(np.longdouble)
        for y in (x, squeezer.purify(x, seeds=seeds))
    ]
    powers = [np.exp(logits - logits.max(1, keepdims=True)) for logits in wide]
    clear, squeezed = (power / power.sum(1, keepdims=True) for power in powers)
    rest = np.arange(4) != clear.argmax(1)[:, None]
    apart = clear - squeezed  # sums to zero, so that the leading class need not be subtracted
    wanted = (np.abs(apart) * rest).sum(1) + np.abs((apart * rest).sum(1))
    assert (clear.astype(np.float32).max(1) == 1).mean() > 0.3
    np.testing.assert_allclose(found, wanted.astype(np.float64), rtol=1e-6, atol=0)


def test_attacked_images_score_higher():
    detector, (victim, _, clean, _, attacked, seeds) = fitted(), clinic()
    with torch.no_grad():
        low, high = (detector(x, victim, seeds=seeds).score for x in (clean, attacked))
    assert high.mean() > low.mean()
    assert roc_auc_score([0] * len(low) + [1] * len(high), torch.cat([low, high])) > 0.7


def test_gradient_is_the_derivative_where_the_squeezer_has_one():
    detector = stand_ins(copy.deepcopy(fitted(Median(3))).double())["exact"]
    victim, seeds = copy.deepcopy(clinic().victim).double(), torch.arange(24)
    x = clinic().clean[:24].double().requires_grad_()
    (grad,) = torch.autograd.grad(detector.proxy(x, victim, seeds=seeds).score.sum(), x)
    generator = torch.Generator().manual_seed(0)
    way = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (
            detector.proxy(x + step * way, victim, seeds=seeds).score for step in (1e-7, -1e-7)
        )
    slope = (ahead - behind) / 2e-7
    same = torch.isclose((grad * way).sum((1, 2, 3)), slope, rtol=1e-4, atol=1e-6)
    assert same.float().mean() > 0.6  # a step may cross a kink


def test_proxy_passes_forward_as_deployed_and_a_gradient_passes_every_squeezer():
    victim, _, clean, _, _, seeds = clinic()
    for squeezer in (BitDepth(3), Median(3)):
        detector = fitted(squeezer, cushion=BitDepth(6))
        x = clean.clone().requires_grad_()
        found = detector.proxy(x, victim, seeds=seeds)
        torch.testing.assert_close(found.score, detector(clean, victim, seeds=seeds).score)
        (grad,) = torch.autograd.grad(found.score.sum(), x)
        assert (grad.flatten(1).norm(dim=1) > 0).all()


def test_an_attackers_taps_are_those_of_the_image_itself():
    victim, _, clean, _, _, seeds = clinic()
    seen = Adaptive()(victim, fitted())(clean[:3], seeds[:3], TAPS)
    _, expected = victim.features(clean[:3], TAPS)
    assert all(torch.equal(seen.features[tap], expected[tap]) for tap in TAPS)


def test_a_random_squeezer_makes_it_random():
    assert not fitted().random
    detector, (victim, _, clean, _, _, seeds) = fitted(RandomResizePad(canvas=1.3)), clinic()
    assert detector.random
    with torch.no_grad():
        first, again, other = (
            detector(clean, victim, seeds=s).score for s in (seeds, seeds, seeds + 1)
        )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_squeezer():
    with pytest.raises(ValueError, match=r"defense\.squeezers is empty"):
        FeatureSqueezing([])
