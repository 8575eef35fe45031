"""Strongest: at least as strong as each part, on every kind of system."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from medrobust.attack.core.board import Board
from medrobust.attack.core.crafted import Crafted
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.plan import EFFORTS, Effort
from medrobust.attack.core.query import CERTAIN
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.criterion.undetected import Undetected
from medrobust.attack.loss.dice import Dice
from medrobust.attack.loss.margin import Margin
from medrobust.attack.momentum_pgd import MomentumPGD
from medrobust.attack.pgd import PGD
from medrobust.attack.square import Square
from medrobust.attack.strongest import Strongest
from medrobust.attack.target.next_class import NextClass
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.base import Defense
from medrobust.defense.jpeg import JPEG
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.defense.random_resize_pad import RandomResizePad
from medrobust.evaluation.adversarial import set_key
from medrobust.model.core.victim import Victim
from medrobust.prediction import Prediction
from medrobust.rng import fold_in, uniform
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.deployed import REHEARSED, DeployedSurrogate
from medrobust.threat.surrogate import Surrogate, VictimSurrogate
from tests.support import boxes
from tests.support.guarded import Sum
from tests.support.helpers import small_cnn
from tests.support.kinds import one_of_each
from tests.support.toys import Noise

EPS = 4 / 255
TINY = Effort(steps=8, restarts=1, targets=1, ranks=1, queries=60, searches=1, draws=4)
DEFENSES: dict[str, Defense] = {"jpeg": JPEG(50), "median": Median(3), "bits": BitDepth(4)}


@pytest.fixture(autouse=True)
def little_effort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EFFORTS, "small", TINY)


def right(defense: Defense, victim: Victim, x: Tensor, y: Tensor, draws: int = 1) -> Tensor:
    """Share of the deployed system's answers that are right, per image."""
    with torch.no_grad():
        answers = [
            defense(x, victim, seeds=torch.arange(len(x)) + 10_000 * draw).label == y
            for draw in range(draws)
        ]
    return torch.stack(answers).double().mean(0)


@pytest.mark.parametrize("defense", one_of_each(DEFENSES, {"jpeg"}))
def test_no_weaker_than_the_oblivious_one_and_than_its_parts(
    defense: Defense, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    victim = surrogate.victim
    x, y, seeds = images[:30], labels[:30], seeds[:30]
    attack, seen = Strongest(EPS, effort="small"), Adaptive()(victim, defense)
    adaptive = right(defense, victim, attack(seen, x, y, seeds=seeds), y)
    oblivious = right(defense, victim, attack(surrogate, x, y, seeds=seeds), y)
    assert (adaptive <= oblivious).all()
    asked = Square(EPS, queries=60)(BlackBox()(victim, defense), x, y, seeds=seeds)
    for made in (
        asked,
        *(part(EPS, steps=8)(seen, x, y, seeds=seeds) for part in (PGD, MomentumPGD)),
    ):
        # The parts start elsewhere than these: some images may go either way.
        assert adaptive.sum() <= right(defense, victim, made, y).sum() + 5
    assert adaptive.mean() < 0.9 * right(defense, victim, x, y).mean()


@pytest.mark.by_default("defense1")
@pytest.mark.parametrize("defense", [JPEG(50), Noise(), Sum(torch.ones(3, 12, 12) / 432, 0.51)])
def test_an_image_is_attacked_alike_alone_and_in_any_batch(
    defense: Defense,
    surrogate: VictimSurrogate,
    images: Tensor,
    labels: Tensor,
    seeds: Tensor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = Adaptive(eot_samples=2)(surrogate.victim, defense)
    monkeypatch.setitem(EFFORTS, "small", TINY._replace(steps=3, queries=20))
    attack = Strongest(EPS, effort="small")
    whole, again = (attack.craft(seen, images[:4], labels[:4], seeds=seeds[:4]) for _ in range(2))
    assert whole.member is not None
    assert again.member is not None
    assert torch.equal(whole.images, again.images)
    for first, last in pairwise((0, 1, 4)):
        part = slice(first, last)
        alone = attack.craft(seen, images[part], labels[part], seeds=seeds[part])
        assert alone.member is not None
        assert (alone.images - whole.images[part]).abs().max() < 1e-4
        assert torch.equal(alone.member, whole.member[part])


def test_it_says_which_member_fooled_an_image(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, seeds = images[:40], labels[:40].clone(), seeds[:40]
    y[:3] = (y[:3] + 1) % 3
    defense = JPEG(50)
    seen = Adaptive()(surrogate.victim, defense)
    attack = Strongest(EPS, effort="small")
    made = attack.craft(seen, x, y, seeds=seeds)
    names = attack.members(seen, x, y, seeds)
    assert made.member is not None
    fooled = right(defense, surrogate.victim, made.images, y) == 0
    assert torch.equal(made.member >= 0, fooled)
    wrong = right(defense, surrogate.victim, x, y) == 0
    assert wrong[:3].any()
    assert {names[place] for place in made.member[wrong].tolist()} == {"clean image"}
    assert torch.equal(made.images[wrong], x[wrong])
    assert "oblivious image" in {names[place] for place in made.member[fooled].tolist()}
    assert all(view in " ".join(names) for view in seen.siblings.stand_ins)


def test_before_nothing_it_is_the_oblivious_attack(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, seeds = images[:20], labels[:20], seeds[:20]
    attack = Strongest(EPS, effort="small")
    seen = Adaptive()(surrogate.victim, NoDefense())
    one, other = (attack.craft(view, x, y, seeds=seeds) for view in (seen, surrogate))
    assert torch.equal(one.images, other.images)
    assert "oblivious image" in attack.members(seen, x, y, seeds)


def test_a_random_defense_is_judged_by_fresh_draws(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    victim, x, y, seeds = surrogate.victim, images[:16], labels[:16], seeds[:16]
    seen = Adaptive(eot_samples=4)(victim, Noise())
    made = Strongest(EPS, effort="small")(seen, x, y, seeds=seeds)
    other = PGD(EPS, steps=8)(seen, x, y, seeds=seeds)
    left = right(Noise(), victim, made, y, 40).mean()
    assert left <= right(Noise(), victim, other, y, 40).mean() + 0.02
    assert left < right(Noise(), victim, x, y, 40).mean() - 0.2


def test_past_a_detector_the_answer_is_wrong_and_accepted(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    weight = torch.ones(3, 12, 12) / 432
    x, y, seeds = images[:20], labels[:20], seeds[:20]
    detector = Sum(weight, float((x * weight).flatten(1).sum(1).quantile(0.9)))
    seen = Adaptive()(surrogate.victim, detector)

    def undetected(made: Tensor) -> Tensor:
        prediction = detector(made, surrogate.victim, seeds=seeds)
        return Undetected().away(prediction, y)

    made = Strongest(EPS, effort="small").craft(seen, x, y, seeds=seeds)
    assert made.member is not None
    assert torch.equal(undetected(made.images), made.member >= 0)
    blind = undetected(PGD(EPS, steps=8)(seen, x, y, seeds=seeds))
    assert undetected(made.images).sum() >= blind.sum() - 3  # it starts elsewhere


@pytest.mark.parametrize("answer", ["scores", "labels"])
def test_a_black_box_is_only_queried(
    answer: str, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, seeds = images[:20], labels[:20], seeds[:20]
    seen = BlackBox(answer)(surrogate.victim, JPEG(50))
    attack = Strongest(2 * EPS, effort="small")
    names = attack.members(seen, x, y, seeds)[2:]
    assert names
    assert all(name.startswith("deployed: ") for name in names)
    made = attack(seen, x, y, seeds=seeds)
    before, after = (right(JPEG(50), surrogate.victim, one, y).mean() for one in (x, made))
    assert after < before


def test_masks_and_boxes_lose_at_least_as_much_as_under_pgd(
    pixel_surrogate: VictimSurrogate,
) -> None:
    x = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    seeds = torch.arange(3)
    masks = pixel_surrogate(x, seeds).label
    for seen, clean, y, loss in (
        (pixel_surrogate, x, masks, Dice()),
        (boxes.surrogate(), boxes.pictures(3), boxes.answered(3), PGD(EPS, steps=1).loss),
    ):
        goal = Goal(loss, Misclassified(), y)
        made = Strongest(EPS, effort="small")(seen, clean, y, seeds=seeds)
        other = PGD(EPS, steps=4)(seen, clean, y, seeds=seeds)
        with torch.no_grad():
            lost, by_pgd = (goal.value(seen(one, seeds)) for one in (made, other))
        assert (lost >= by_pgd - 1e-4).all()


def test_in_an_l2_ball(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, seeds = images[:20], labels[:20], seeds[:20]
    seen = Adaptive()(surrogate.victim, JPEG(50))
    made = Strongest(0.5, norm="l2", effort="small")(seen, x, y, seeds=seeds)
    before, after = (right(JPEG(50), surrogate.victim, one, y).mean() for one in (x, made))
    assert after < before
    assert (made - x).flatten(1).norm(dim=1).max() <= 0.5 + 1e-5


def test_a_wrong_effort_or_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match=r"attack.effort='huge', expected one of small"):
        Strongest(EPS, effort="huge")
    with pytest.raises(ValueError, match=r"attack.target=NextClass"):
        Strongest(EPS, target=NextClass())


class Coin(Surrogate):
    """Answers class 1 with a probability that the image's first pixel says, else class 0."""

    random, differentiable = True, False
    fingerprint = "coin"

    def forward(self, x: Tensor, seeds: Tensor, taps: object = ()) -> Prediction:
        wrong = uniform(seeds, (1,))[:, 0] < x[:, 0, 0, 0]
        return Prediction(torch.stack([~wrong, wrong], dim=1).float())


def board(count: int, draws: int = 4) -> Board:
    goal = Goal(Margin(), Misclassified(), torch.zeros(count, dtype=torch.int64))
    x = torch.zeros(count, 1, 1, 1)
    return Board(Coin(), x, goal, fold_in(torch.arange(count), 3), draws=draws, settles=True)


def test_no_lucky_draw_settles_an_image() -> None:
    count = 2000
    lucky, sure = board(count), board(count)
    everyone = torch.arange(count)
    lucky.offer(everyone, torch.full((count, 1, 1, 1), 0.8), 7)
    sure.offer(everyone, torch.ones(count, 1, 1, 1), 7)
    assert sure.settled.all()
    # All of 4 + 30 draws are wrong with probability 0.8 ** 34 = 5e-4.
    assert lucky.settled.double().mean() < 0.8 ** (4 + CERTAIN) + 0.004
    assert (lucky.share == 1).double().mean() == pytest.approx(0.8**4, abs=0.05)
    assert lucky.share.mean() == pytest.approx(0.8, abs=0.03)


def test_the_better_candidate_stays() -> None:
    count = 500
    kept, everyone = board(count, draws=16), torch.arange(500)
    for number, chance in enumerate((0.1, 0.9, 0.3)):
        kept.offer(everyone, torch.full((count, 1, 1, 1), chance), number)
    assert (kept.member == 1).double().mean() > 0.99
    assert torch.equal(kept.image[kept.member == 1].unique(), torch.tensor([0.9]))


def test_members_get_the_best_image_where_they_start_warm(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y = images[:5], labels[:5]
    start = (x + 0.01).clamp(0, 1)
    goal = Goal(PGD(EPS, steps=1).loss, Misclassified(), y, start=start)
    attack = MomentumPGD(EPS, steps=1, step_size=1e-6)
    made = attack.perturb(surrogate, x, goal, seeds=seeds[:5])
    assert isinstance(made, Tensor)
    assert not isinstance(made, Crafted)
    assert (made - start).abs().max() <= 2e-6


def test_random_resizing_gives_each_expectation(surrogate: VictimSurrogate) -> None:
    views = Adaptive(eot_samples=4)(surrogate.victim, RandomResizePad(0.9)).siblings.stand_ins
    assert [name for name in views if name.endswith(", mean probability")]
    kinds = {type(view).__name__ for view in views.values()}
    assert kinds == {"MeanLossSurrogate", "MeanAnswerSurrogate"}


def test_a_vote_is_judged_by_its_votes_and_not_queried(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    victim, x, y, seeds = surrogate.victim, images[:12], labels[:12], seeds[:12]
    vote = MedRDF(GaussianNoise(0.05), Median(3), copies=1000)
    seen = Adaptive(eot_samples=4)(victim, vote)
    rehearsed = seen.siblings.deployed
    assert isinstance(rehearsed, DeployedSurrogate)
    assert rehearsed.defense.copies == REHEARSED
    assert vote.copies == 1000
    attack = Strongest(2 * EPS, effort="small")
    names = attack.members(seen, x, y, seeds)
    assert not any(name.startswith("deployed: ") for name in names)
    made = attack(seen, x, y, seeds=seeds)
    few = MedRDF(GaussianNoise(0.05), Median(3), copies=100)
    before, after = (right(few, victim, one, y).mean() for one in (x, made))
    assert after < before


def test_its_set_depends_on_every_view(surrogate: VictimSurrogate) -> None:
    images = ImageSet.of((torch.rand(2, 3, 12, 12), torch.tensor([0, 1])))
    seen = Adaptive()(surrogate.victim, JPEG(50))
    attacks = (Strongest(EPS), PGD(EPS, steps=1))
    strongest, pgd = (set_key(seen, attack, images, 0, False) for attack in attacks)
    views = seen.siblings
    for other in (
        replace(views, bare=VictimSurrogate(small_cnn())),
        replace(views, stand_ins=dict(list(views.stand_ins.items())[:1])),
        replace(views, deployed=DeployedSurrogate(surrogate.victim, JPEG(51))),
    ):
        seen._siblings = lambda other=other: other  # type: ignore[method-assign]
        changed, same = (set_key(seen, attack, images, 0, False) for attack in attacks)
        assert changed != strongest
        assert same == pgd
