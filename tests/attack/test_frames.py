"""The frames of minimum-norm and query attacks, and what a goal's objective may ask for."""

from typing import Any

import pytest
import torch
from torch import Tensor

from medrobust.attack.base import Attack, AttackError, distance
from medrobust.attack.best import Best
from medrobust.attack.closest import Closest
from medrobust.attack.fgsm import FGSM
from medrobust.attack.goal import Goal
from medrobust.attack.minimum_norm import MinimumNorm, within
from medrobust.attack.objective.cross_entropy import CrossEntropy
from medrobust.attack.pgd import PGD
from medrobust.attack.query import Oracle, QueryAttack
from medrobust.attack.success import Misclassified
from medrobust.defense.median import Median
from medrobust.defense.none import NoDefense
from medrobust.model.victim import Victim
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import Surrogate, VictimSurrogate

EPS = 2 / 255


class Noise(QueryAttack):
    """The weakest search: the same step of one grey level, once more at each query."""

    def search(self, oracle: Oracle, best: Best, rows: Tensor) -> None:
        step = 1
        while len(rows) and oracle.left(rows).min() > 1:
            shift = torch.stack([oracle.x[rows] + s * step / 255 for s in (1, -1)]).clamp(0, 1)
            loss, reached = oracle.ask(rows, shift)
            for k in range(2):
                best.offer(rows, shift[k], loss[k], reached[k])
            rows, step = rows[~reached.any(0)], step + 1


class Halfway(MinimumNorm):
    """Offers the mean of the image and grey, reached or not."""

    norm = "l2"

    def search(
        self, surrogate: Surrogate, goal: Goal, closest: Closest, rows: Tensor, seeds: Tensor
    ) -> None:
        image = (closest.x[rows] + 0.5) / 2
        _, reached = surrogate.value(image, goal.at(rows), seeds=seeds[rows])
        closest.offer(rows, image, reached)


def test_queries_are_counted_per_image_and_stop(
    victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    asked: list[int] = []
    surrogate = BlackBox()(victim, NoDefense())
    handle = victim.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
    made = Noise(9 / 255, queries=17).craft(surrogate, images, labels, seeds=seeds)
    handle.remove()
    assert made.queries is not None
    wrong = victim(images).argmax(1) != labels
    found = victim(made.images).argmax(1) != labels
    assert sum(asked) == made.queries.sum()
    assert (made.queries[wrong] == 1).all()
    assert (made.queries[~found] == 17).all()
    assert (made.queries[found & ~wrong] > 1).all()
    assert 0 < (found & ~wrong).sum() < len(images)
    alone = Noise(9 / 255, queries=17, chunk=3)
    parts = [alone.craft(surrogate, images[[i]], labels[[i]], seeds=seeds[[i]]) for i in range(5)]
    assert [int(part.queries[0]) for part in parts if part.queries is not None] == (
        made.queries[:5].tolist()
    )


def test_the_query_budget_cannot_be_broken(surrogate: Surrogate, images: Tensor) -> None:
    y = torch.zeros(4, dtype=torch.int64)
    goal = Goal(CrossEntropy(), Misclassified(), y)
    oracle = Oracle(surrogate, images[:4], goal, torch.arange(4), budget=3, chunk=2)
    rows = torch.tensor([0, 2])
    oracle.ask(rows, images[rows].expand(2, -1, -1, -1, -1))
    assert oracle.asked.tolist() == [2, 0, 2, 0]
    with pytest.raises(RuntimeError, match="2 queries asked, but 1 are left"):
        oracle.ask(rows, images[rows].expand(2, -1, -1, -1, -1))


def test_the_qth_query_has_the_qth_noise() -> None:
    class Seen(Surrogate):
        fingerprint = "seen"

        def __init__(self) -> None:
            super().__init__()
            self.log: list[tuple[float, int]] = []

        def forward(self, x: Tensor, seeds: Tensor, taps: object = ()) -> Any:
            raise NotImplementedError

        def value(self, x: Tensor, goal: Goal, *, seeds: Tensor) -> tuple[Tensor, Tensor]:
            self.log += list(zip(x.flatten(1)[:, 0].tolist(), seeds.tolist(), strict=True))
            return torch.zeros(len(x)), torch.zeros(len(x), dtype=torch.bool)

    x, y = torch.tensor([0.25, 0.75]).view(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64)
    goal = Goal(CrossEntropy(), Misclassified(), y)
    logs = []
    for rows in ([0, 1], [1, 0], [0]):
        surrogate = Seen()
        oracle = Oracle(surrogate, x, goal, torch.tensor([7, 8]), budget=5, chunk=3)
        index = torch.tensor(rows)
        oracle.ask(index, x[index])
        oracle.ask(index, x[index].expand(3, -1, -1, -1, -1))
        logs.append([seed for image, seed in surrogate.log if image == 0.25])
    assert logs[0] == logs[1] == logs[2]
    assert len(set(logs[0])) == 4


def test_a_gradient_attack_on_a_black_box_is_refused(
    victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    surrogate = BlackBox()(victim, Median())
    with pytest.raises(AttackError, match="FGSM needs gradients and QuerySurrogate gives none"):
        FGSM(EPS)(surrogate, images, labels, seeds=seeds)


def test_an_attack_for_labels_refuses_masks(pixel_surrogate: Surrogate) -> None:
    class Labels(PGD):
        dense = False

    x, y = torch.rand(2, 3, 6, 6), torch.zeros(2, 6, 6, dtype=torch.int64)
    with pytest.raises(AttackError, match="one label per image, this task has masks"):
        Labels(EPS, steps=1)(pixel_surrogate, x, y, seeds=torch.arange(2))


def test_minimum_norm_returns_the_nearest_or_the_clean_image(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    found = Halfway(None)(surrogate, images, labels, seeds=seeds)
    wrong = surrogate.victim(images).argmax(1) != labels
    half = surrogate.victim((images + 0.5) / 2).argmax(1) != labels
    moved = (found != images).flatten(1).any(1)
    assert torch.equal(moved, half & ~wrong)
    assert moved.any()
    short = Halfway(0.5)(surrogate, images, labels, seeds=seeds)
    torch.testing.assert_close(
        distance(images, short, "l2"),
        distance(images, found, "l2").clamp(max=0.5),
        rtol=1e-5,  # pixels are rounded toward the clean image
        atol=0,
    )
    assert distance(images, short, "l2").max() <= 0.5


def test_pulled_back_along_the_line() -> None:
    x, image = torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[0.9, 0.7]]]])
    torch.testing.assert_close(within(x, image, "linf", 0.1), torch.tensor([[[[0.6, 0.55]]]]))
    assert torch.equal(within(x, image, "linf", 0.5), image)


def test_closest_keeps_the_nearest_that_reached() -> None:
    x = torch.zeros(3, 1, 1, 1)
    closest = Closest(x, "linf")
    rows, yes = torch.tensor([0, 2]), torch.tensor([True, True])
    closest.offer(rows, torch.tensor([0.5, 0.2]).view(2, 1, 1, 1), yes)
    closest.offer(rows, torch.tensor([0.4, 0.3]).view(2, 1, 1, 1), yes)
    closest.offer(rows, torch.tensor([0.1, 0.1]).view(2, 1, 1, 1), ~yes)
    assert closest.image.flatten().tolist() == pytest.approx([0.4, 0.0, 0.2])
    assert closest.reached.tolist() == [True, False, True]


def test_norm_is_part_of_what_an_attack_is() -> None:
    assert PGD(EPS, steps=1).settings["norm"] == "linf"
    assert isinstance(Halfway(None), Attack)
    assert Halfway(None).settings["norm"] == "l2"
