"""The sequential vote: a prefix of the fixed one, the same in any batch, as right as promised."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from medrobust.defense.core.betting import log_capital
from medrobust.defense.core.sequential import interim_looks
from medrobust.defense.medrdf import MedRDF, p_value
from medrobust.defense.noise.additive import GaussianNoise, SaltPepperNoise
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds
from tests.support.helpers import class_directions, linear_victim, small_cnn

SEEDS = sample_seeds(0, [str(i) for i in range(9)])
TORN = linear_victim(classes=3)
IMAGES = (0.5 + torch.linspace(0, 2, 9).view(-1, 1, 1, 1) * class_directions(TORN)[0]).clamp(0, 1)
"""Images from grey, whose copies spread over all classes, to one whose copies are of class 0."""


def medrdf(n: int = 600, **settings: object) -> MedRDF:
    return MedRDF(GaussianNoise(0.3), NoDefense(), n, **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def torn() -> Victim:
    """A victim whose vote is torn on the first of the images, and surer on each that follows."""
    return TORN


def streams(shares: list[float], runs: int, n: int, seed: int = 0) -> np.ndarray:
    """Votes (looks, runs, K) at the looks of a vote of n copies."""
    generator = np.random.default_rng(seed)
    steps = np.diff(interim_looks(n), prepend=0)
    return np.stack([generator.multinomial(step, shares, size=runs) for step in steps]).cumsum(0)


def run(defense: MedRDF, votes: np.ndarray) -> Tensor:
    """The rule on streams of votes: counts (runs, K) at the stop."""
    counts = torch.from_numpy(votes)
    stopped = torch.stack([defense.decided(look) for look in counts[:-1]])
    stopped = torch.cat([stopped, torch.ones_like(stopped[:1])])
    first = stopped.double().argmax(0)
    return counts[first, torch.arange(counts.shape[1])]


def test_looks_grow_to_n():
    found = interim_looks(10_000)
    assert found[0] == 32
    assert found[-1] == 10_000
    assert found == sorted(set(found))
    assert all(later <= earlier * 1.25 for earlier, later in pairwise(found))
    assert interim_looks(20) == [20]
    assert interim_looks(32) == [32]
    assert interim_looks(33) == [32, 33]


def test_counts_are_a_prefix_of_the_fixed_vote(torn):
    fixed = medrdf()
    found = medrdf(stopping="sequential").count(IMAGES, torn, seeds=SEEDS)
    drawn = found.sum(1)
    assert drawn.min() < 100
    assert drawn.max() == 600
    assert set(drawn.tolist()) <= set(interim_looks(600))
    for place, copies in enumerate(drawn.tolist()):
        one = slice(place, place + 1)
        prefix = medrdf(copies).count(IMAGES[one], torn, seeds=SEEDS[one])
        assert torch.equal(found[one], prefix)
    whole = fixed.count(IMAGES, torn, seeds=SEEDS)
    assert torch.equal(found[drawn == 600], whole[drawn == 600])


def test_stops_at_the_first_look_that_decides(torn):
    defense = medrdf(stopping="sequential")
    found = defense.count(IMAGES, torn, seeds=SEEDS)
    for place, copies in enumerate(found.sum(1).tolist()):
        one = slice(place, place + 1)
        history = {
            look: bool(defense.decided(medrdf(look).count(IMAGES[one], torn, seeds=SEEDS[one])))
            for look in interim_looks(600)[:-1]
        }
        assert next((look for look, stop in history.items() if stop), 600) == copies


@pytest.mark.parametrize("settings", [{}, {"chunk": 37}, {"chunk": 2000}])
def test_same_answer_in_any_batch_and_chunk(torn, settings):
    whole = medrdf(stopping="sequential")(IMAGES, torn, seeds=SEEDS)
    other = medrdf(stopping="sequential", **settings)
    for part in (slice(0, 1), slice(1, 5), slice(5, 9)):
        found = other(IMAGES[part], torn, seeds=SEEDS[part])
        assert torch.equal(found.logits, whole.logits[part])
        assert torch.equal(found.confidence, whole.confidence[part])
        assert torch.equal(found.abstain, whole.abstain[part])
        for name, value in whole.details.items():
            assert torch.equal(found.details[name], value[part])


@pytest.mark.by_default("label-2", "label_and_rm-3")
@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("decide", ["label", "label_and_rm"])
def test_wrong_classes_are_as_rare_as_promised(classes, decide):
    """Stopping whenever it likes, at α = 0.05, with the hardest truth: leaders that hardly lead."""
    defense = medrdf(1000, stopping="sequential", decide=decide, alpha=0.05)
    for gap in (0.002, 0.05):
        shares = [0.45 - gap / 2, 0.45 + gap / 2, *[0.1 / max(1, classes - 2)] * (classes - 2)]
        shares = [share / sum(shares) for share in shares]
        counts = run(defense, streams(shares, 4000, 1000))
        answer = defense.decide(counts)
        wrong = (answer.label != 1) & ~answer.abstain
        assert wrong.double().mean() <= 0.05
        early = counts.sum(1) < 1000
        assert (wrong & early).double().mean() <= 0.05 * 0.01 + 3 * (0.0005 / 4000) ** 0.5


@pytest.mark.parametrize(
    ("shares", "copies"),
    [
        ([0.97, 0.03], 100),
        ([0.9, 0.08, 0.02], 100),
        ([0.5, 0.42, 0.08], 7000),
        ([0.96, 0.02, 0.02, 0, 0, 0, 0], 100),
        ([0.8, 0.15, 0.05, 0, 0, 0, 0], 1000),
        ([0.45, 0.35, 0.1, 0.1, 0, 0, 0], 5000),
    ],
)
def test_agrees_with_the_fixed_vote_on_far_fewer_copies(shares, copies):
    """Over 500 images alike; `copies` is the most that the median image may need, of 10 000."""
    votes = streams(shares, 500, 10_000)
    fixed = medrdf(10_000).decide(torch.from_numpy(votes[-1]))
    defense = medrdf(10_000, stopping="sequential")
    counts = run(defense, votes)
    answer = defense.decide(counts)
    same = (answer.label == fixed.label) & (answer.abstain == fixed.abstain)
    same &= answer.details["rm_robust"] == fixed.details["rm_robust"]
    assert same.double().mean() >= 0.995
    assert counts.sum(1).double().median() <= copies


def test_a_tie_takes_all_copies_and_abstains_as_the_fixed_vote():
    votes = streams([0.5, 0.5], 300, 2000)
    defense = medrdf(2000, stopping="sequential")
    counts = run(defense, votes)
    assert (counts.sum(1) == 2000).double().mean() > 0.99
    answer, fixed = defense.decide(counts), medrdf(2000).decide(torch.from_numpy(votes[-1]))
    assert answer.abstain.double().mean() > 0.99
    assert (answer.abstain == fixed.abstain).double().mean() > 0.99
    assert not answer.details["rm_robust"].any()


def test_what_stops_a_vote():
    """Only the class, or also on which side of its threshold RM lies."""
    sure, torn = torch.tensor([[40, 0, 0]]), torch.tensor([[66, 30, 4]])
    label = medrdf(stopping="sequential", decide="label")
    both = medrdf(stopping="sequential")
    assert label.decided(sure).item()
    assert both.decided(sure).item()
    assert not label.decided(torn).item()
    votes = torn * 10  # RM = 1.08, the threshold is 1
    assert label.decided(votes).item()
    assert not both.decided(votes).item()
    assert both.decided(torn * 10).item() == both.decide(votes).details["rm_settled"].item()
    assert medrdf(stopping="sequential", rm_threshold=0.5).decided(votes).item()


def test_settled_says_what_the_stopping_rule_saw():
    votes = torch.from_numpy(streams([0.68, 0.26, 0.06], 200, 5000)[-6])
    defense = medrdf(5000, stopping="sequential")
    first, second = votes.topk(2, dim=1).values.unbind(1)
    known = log_capital(first, second, votes.sum(1) - first - second, 0.0) >= np.log(3 / 1e-5)
    settled = defense.decide(votes).details["rm_settled"]
    assert torch.equal(defense.decided(votes), known & settled)
    assert settled.any()
    assert not settled.all()


def test_final_test_keeps_what_early_stops_did_not_spend():
    """The smallest lead that the fixed vote of 10 000 decides at α is decided at 0.99 α, or not."""
    lead = torch.arange(300, 360, 2)
    votes = torch.stack((5000 + lead // 2, 5000 - lead // 2), 1)
    sequential = medrdf(10_000, stopping="sequential").decide(votes).abstain
    p = p_value(votes[:, 0], votes[:, 1])
    assert torch.equal(sequential, p > 0.99 * 0.001)
    assert torch.equal(medrdf(10_000).decide(votes).abstain, p > 0.001)


def test_salt_and_pepper_draws_the_same_copies():
    """Another noise, a victim that answers by one pixel: counts of both estimators agree."""
    victim = small_cnn(classes=2)
    fixed = MedRDF(SaltPepperNoise(0.3), NoDefense(), 32)
    found = MedRDF(SaltPepperNoise(0.3), NoDefense(), 32, stopping="sequential")
    assert torch.equal(
        fixed.count(IMAGES, victim, seeds=SEEDS), found.count(IMAGES, victim, seeds=SEEDS)
    )


def test_estimators_have_different_fingerprints():
    prints = {
        medrdf().fingerprint,
        medrdf(stopping="sequential").fingerprint,
        medrdf(stopping="sequential", decide="label").fingerprint,
        medrdf(rm_threshold=0.5).fingerprint,
    }
    assert len(prints) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stopping": "guess"}, "defense.stopping=guess, expected fixed or sequential"),
        ({"decide": "rm"}, "defense.decide=rm, expected label or label_and_rm"),
        ({"rm_threshold": -1}, "defense.rm_threshold=-1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        medrdf(**settings)


def test_a_threshold_out_of_reach_is_refused():
    with pytest.raises(ValueError, match="rm_threshold=3 cannot be exceeded with 3 classes"):
        medrdf(rm_threshold=3).decide(torch.tensor([[5, 1, 0]]))


def test_one_class_is_refused():
    for stopping in ("fixed", "sequential"):
        with pytest.raises(ValueError, match="two leading classes"):
            medrdf(3, stopping=stopping).decide(torch.full((2, 1), 3))
