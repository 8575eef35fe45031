"""The frame of detectors: one forward pass, a threshold of clean validation images, a Cushion."""

import copy
import math
import pickle

import pytest
import torch

from medrobust.attack.core.goal import Goal
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.detector import Detector, Observation, UnfittedDetectorError
from medrobust.defense.core.fitting import FitError, rejection_threshold
from medrobust.defense.tv_minimization import TVMinimization
from medrobust.model.core.frozen import UnfrozenError
from medrobust.number import NumberError
from medrobust.prediction import Prediction
from medrobust.rng import sample_seeds
from medrobust.threat.adaptive import Adaptive
from tests.support.clinic import TAPS, SplitData, clinic, pictures


class Loudness(Detector):
    """Mean of the first tap beyond that of the training images."""

    def learn(self, victim, datamodule):
        x = datamodule.dataset("train").images
        self.statistics["usual"] = victim.features(x, self.taps)[1][self.taps[0]].mean()

    def anomaly(self, seen: Observation) -> torch.Tensor:
        assert seen.logits.shape[0] == len(seen.x) == len(seen.seeds)
        return seen.features[self.taps[0]].flatten(1).mean(1) - self.statistics["usual"]


def fitted(taps=TAPS[:1], **settings) -> Loudness:
    detector = Loudness(taps, **settings)
    detector.fit(clinic().victim, clinic().data)
    return detector.eval()


def same(first: Prediction, second: Prediction) -> bool:
    pairs = [(first.logits, second.logits), (first.score, second.score)]
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("tnr", [0.5, 0.9, 0.95, "9/10", 1.0])
def test_the_threshold_lets_a_share_of_clean_validation_images_pass(tnr):
    detector, (victim, data, *_) = fitted(tnr=tnr), clinic()
    val = data.dataset("val").images
    found = detector(val, victim, seeds=torch.arange(len(val)))
    count = int((~found.abstain).sum())
    assert count == math.ceil(detector.tnr * len(val))
    assert torch.equal(found.abstain, found.score > found.threshold)
    assert found.threshold.shape == ()


def test_it_learns_from_no_victim_in_training_mode():
    victim = copy.deepcopy(clinic().victim).train()
    before = victim.fingerprint
    with pytest.raises(UnfrozenError, match=r"Loudness.*call victim\.freeze\(\)"):
        Loudness(TAPS[:1]).fit(victim, clinic().data)
    assert victim.fingerprint == before


@pytest.mark.parametrize("count", [1, 7, 10, 1000])
@pytest.mark.parametrize("tnr", [0.01, 0.7, 0.9, 1.0])
def test_pass_mark_is_the_least_one(count, tnr):
    scores = torch.randn(count, generator=torch.Generator().manual_seed(count))
    mark = rejection_threshold(scores, tnr)
    assert (scores <= mark).double().mean() >= tnr
    assert (scores < mark).double().mean() < tnr


def test_neither_test_images_nor_attacked_ones_move_the_threshold():
    plain, (victim, data, *_) = fitted(), clinic()
    other = SplitData({name: (s.images, s.labels) for name, s in data.splits.items()})
    other.splits["test"].images = torch.rand_like(other.splits["test"].images)
    again = Loudness(TAPS[:1])
    again.fit(victim, other)
    assert again.fingerprint == plain.fingerprint
    other.splits["val"].images = other.splits["val"].images * 0.5
    again.fit(victim, other)
    assert again.threshold != plain.threshold
    assert again.fingerprint != plain.fingerprint


def test_one_forward_pass_gives_logits_and_features(monkeypatch):
    detector, (victim, _, clean, _, _, seeds) = fitted(), clinic()
    passes = []
    handle = victim.network.register_forward_hook(lambda *_: passes.append(1))
    found = detector(clean, victim, seeds=seeds)
    handle.remove()
    assert len(passes) == 1
    assert torch.equal(found.logits, victim(clean))


def test_refuses_to_answer_before_it_is_fitted():
    victim, _, clean, _, _, seeds = clinic()
    detector = Loudness(TAPS[:1])
    assert detector.threshold.isnan()
    for answer in (detector, detector.proxy):
        with pytest.raises(UnfittedDetectorError, match=r"Loudness has no threshold yet: .*fit\("):
            answer(clean, victim, seeds=seeds)
    ready = fitted()
    ready.forget()
    with pytest.raises(UnfittedDetectorError):
        ready(clean, victim, seeds=seeds)


@pytest.mark.parametrize("cushion", [BitDepth(3), TVMinimization(iterations=6)], ids=type)
def test_the_cushion_stands_before_victim_and_detector(cushion):
    detector, (victim, _, clean, _, _, seeds) = fitted(cushion=cushion), clinic()
    assert detector.random is cushion.random
    with torch.no_grad():
        found, stand_in = (ask(clean, victim, seeds=seeds) for ask in (detector, detector.proxy))
        cushioned = cushion.purify(clean, seeds=seeds)
        assert torch.equal(found.logits, victim(cushioned))
        assert same(found, stand_in)
        usual = detector.statistics["usual"]
        expected = victim.features(cushioned, TAPS)[1][TAPS[0]].flatten(1).mean(1) - usual
        torch.testing.assert_close(found.score, expected)
    assert torch.equal(detector.view(clean, seeds=seeds), cushioned)
    x = clean.clone().requires_grad_()
    detector.proxy(x, victim, seeds=seeds).score.sum().backward()
    assert (x.grad.flatten(1).norm(dim=1) > 0).all()
    val = clinic().data.dataset("val").images
    ids = [entry.id for entry in clinic().data.dataset("val").entries]
    assert detector(val, victim, seeds=sample_seeds(0, ids)).abstain.sum() == 12


def test_bpda_is_the_gradient_at_the_cushioned_image():
    detector, (victim, _, clean, _, _, seeds) = fitted(cushion=BitDepth(3)), clinic()
    x = clean.clone().requires_grad_()
    detector.proxy(x, victim, seeds=seeds).score.sum().backward()
    y = detector.view(clean, seeds=seeds).requires_grad_()
    fitted().proxy(y, victim, seeds=seeds).score.sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_an_attackers_taps_lie_beside_the_detectors_own():
    detector, (victim, _, clean, labels, _, seeds) = fitted(), clinic()
    few = slice(0, 3)  # so few that the victim fills the batch up
    seen = Adaptive()(victim, detector)(clean[few], seeds[few], TAPS)
    _, expected = victim.features(clean[few], TAPS)
    assert all(torch.equal(seen.features[tap], expected[tap]) for tap in TAPS)
    assert seen.threshold == detector.threshold
    goal = Goal(CrossEntropy(), Misclassified(), labels[few])
    assert (
        Adaptive()(victim, detector).value_and_grad(clean[few], goal, seeds=seeds[few]).grad.any()
    )


def test_what_is_learned_is_state_and_fingerprint():
    detector, (victim, _, clean, _, _, seeds) = fitted(), clinic()
    assert {"threshold", "statistics.usual"} <= set(detector.state_dict())
    for twin in (copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        assert twin.fingerprint == detector.fingerprint
        assert same(twin(clean, victim, seeds=seeds), detector(clean, victim, seeds=seeds))
    assert fitted().fingerprint == detector.fingerprint
    assert fitted(tnr=0.8).fingerprint != detector.fingerprint
    assert fitted(cushion=BitDepth(3)).fingerprint != detector.fingerprint
    assert Loudness(TAPS[:1]).fingerprint != detector.fingerprint


def test_a_fit_is_kept(tmp_path, monkeypatch):
    (victim, data, *_), folder = clinic(), str(tmp_path)
    first = fitted(fits=folder)
    assert first.fingerprint == fitted().fingerprint  # where it is kept is no science
    learned = []
    monkeypatch.setattr(Loudness, "learn", lambda *_: learned.append(1))
    assert fitted(fits=folder).fingerprint == first.fingerprint
    assert not learned
    for other in ({"tnr": 0.8}, {"taps": TAPS[1:]}, {"cushion": BitDepth(3)}):
        with pytest.raises(AttributeError):  # learns anew, which is nothing here
            fitted(fits=folder, **other)
    half = SplitData({name: (s.images, s.labels) for name, s in data.splits.items()})
    half.splits["train"].keep(torch.arange(100))
    with pytest.raises(AttributeError):
        Loudness(TAPS[:1], fits=folder).fit(victim, half)
    with pytest.raises(AttributeError):
        Loudness(TAPS[:1], fits=folder).fit(
            victim, SplitData({n: (s.images, s.labels) for n, s in data.splits.items()}, "other")
        )


def test_a_tap_that_the_victim_lacks():
    with pytest.raises(KeyError, match=r"no tap \['layer9'\]; it has \['0', '1', '2'"):
        fitted(taps=("layer9",))


def test_a_split_of_one_class():
    images, labels = pictures(60, 0)
    data = SplitData({"train": (images, labels), "val": (images[labels == 1], labels[labels == 1])})
    with pytest.raises(FitError, match=r"all 20 images of split val are of class 1.*limit_val"):
        Loudness(TAPS[:1]).fit(clinic().victim, data)


def test_masks():
    images, _ = pictures(6, 0)
    masks = torch.zeros(6, 16, 16, dtype=torch.int64)
    data = SplitData({"train": (images, masks), "val": (images, masks)})
    with pytest.raises(FitError, match="toy: detectors need class labels"):
        Loudness(TAPS[:1]).fit(clinic().victim, data)


def test_scores_that_are_no_numbers(monkeypatch):
    monkeypatch.setattr(Loudness, "anomaly", lambda self, seen: seen.logits[:, 0] / 0 * 0)
    with pytest.raises(FitError, match=r"\d+ of 120 clean validation scores are not finite"):
        fitted()


@pytest.mark.parametrize("tnr", [0, -1, 1.1, "many", float("nan")])
def test_bad_tnr(tnr):
    with pytest.raises(NumberError, match=r"defense\.tnr"):
        Loudness(TAPS, tnr=tnr)


def test_a_cushion_that_is_none():
    with pytest.raises(TypeError, match=r"cushion is .jpeg., expected an object of Purifier"):
        Loudness(TAPS, cushion="jpeg")
