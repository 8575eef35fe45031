"""The frame of query attacks: what is asked is counted, per image, within its budget."""

from typing import Any

import pytest
import torch
from torch import Tensor

from medrobust.attack.core.best import Best
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.query import Oracle, QueryAttack
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import Surrogate


class Noise(QueryAttack):
    """The weakest search: the same step of one grey level, once more at each query."""

    def search(self, oracle: Oracle, best: Best, rows: Tensor) -> None:
        step = 1
        while len(rows) and oracle.left(rows).min() > 1:
            shift = torch.stack([oracle.x[rows] + s * step / 255 for s in (1, -1)]).clamp(0, 1)
            loss, reached = oracle.query(rows, shift)
            for k in range(2):
                best.offer(rows, shift[k], loss[k], reached[k])
            rows, step = rows[~reached.any(0)], step + 1


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
    oracle.query(rows, images[rows].expand(2, -1, -1, -1, -1))
    assert oracle.asked.tolist() == [2, 0, 2, 0]
    with pytest.raises(RuntimeError, match="2 queries asked, but 1 are left"):
        oracle.query(rows, images[rows].expand(2, -1, -1, -1, -1))


def test_the_qth_query_has_the_qth_noise() -> None:
    class Seen(Surrogate):
        fingerprint = "seen"

        def __init__(self) -> None:
            super().__init__()
            self.log: list[tuple[float, int]] = []

        def forward(self, x: Tensor, seeds: Tensor, taps: object = ()) -> Any:
            raise AssertionError("an oracle asks for values only")

        def _value(self, x: Tensor, goal: Goal, *, seeds: Tensor) -> tuple[Tensor, Tensor]:
            self.log += list(zip(x.flatten(1)[:, 0].tolist(), seeds.tolist(), strict=True))
            return torch.zeros(len(x)), torch.zeros(len(x), dtype=torch.bool)

    x, y = torch.tensor([0.25, 0.75]).view(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64)
    goal = Goal(CrossEntropy(), Misclassified(), y)
    logs = []
    for rows in ([0, 1], [1, 0], [0]):
        surrogate = Seen()
        oracle = Oracle(surrogate, x, goal, torch.tensor([7, 8]), budget=5, chunk=3)
        index = torch.tensor(rows)
        oracle.query(index, x[index])
        oracle.query(index, x[index].expand(3, -1, -1, -1, -1))
        logs.append([seed for image, seed in surrogate.log if image == 0.25])
    assert logs[0] == logs[1] == logs[2]
    assert len(set(logs[0])) == 4
