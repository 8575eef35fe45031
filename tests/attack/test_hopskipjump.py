from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from medrobust.attack.core.norm import distance
from medrobust.attack.criterion.jaccard_below import JaccardBelow
from medrobust.attack.hopskipjump import HopSkipJump
from medrobust.attack.target.next_class import NextClass
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import VictimSurrogate
from tests.attack.test_config import build

Wrap = Callable[..., VictimSurrogate]
RADIUS = {"l2": 1.0, "linf": 12 / 255}  # of like effect on the toy

norms = pytest.mark.parametrize("norm", ["l2", "linf"])


def left(surrogate: VictimSurrogate, x: Tensor, y: Tensor) -> int:
    return int((surrogate.victim(x).argmax(1) == y).sum())


@norms
def test_distance_to_a_plane(norm: str, wrap: Wrap) -> None:
    """|f| / ||w||_2 in L2, |f| / ||w||_1 in L∞: nothing below, found not far above."""

    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(48, generator=torch.Generator().manual_seed(1)))

        def forward(self, x: Tensor) -> Tensor:
            half = (x.flatten(1) * self.weight).sum(1) / 2
            return torch.stack([-half, half], 1)

    surrogate = wrap(Line())
    x = 0.3 + 0.4 * torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    logits = surrogate.victim(x)
    slope = surrogate.victim.network.weight.norm(p=2 if norm == "l2" else 1) / 0.25
    radius = (logits[:, 0] - logits[:, 1]).abs() / slope
    y, slack = logits.argmax(1), {"l2": 1.05, "linf": 1.25}[norm]
    for i in radius.sort(descending=True).indices[:2].tolist():
        for factor, queries, expected in ((slack, 5000, True), (0.97, 300, False)):
            attack = HopSkipJump(float(factor * radius[i]), queries=queries, norm=norm)
            found = attack(surrogate, x[[i]], y[[i]], seeds=torch.tensor([0]))
            assert (left(surrogate, found, y[[i]]) == 0) is expected, (factor, radius[i])


@pytest.mark.by_default("linf")
@norms
def test_not_weaker_than_foolbox(
    norm: str, surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """At no more queries.

    foolbox starts from noise that is blended in on a grid of 50, keeps asking about every image
    until the batch is done, and never asks at eps; it returns the nearest point at any distance.
    """
    foolbox = pytest.importorskip("foolbox")
    x, y, eps = images[:48], labels[:48], RADIUS[norm]
    asked: list[int] = []
    handle = surrogate.victim.register_forward_pre_hook(
        lambda _, inputs: asked.append(len(inputs[0]))
    )
    torch.manual_seed(0)
    with torch.no_grad():
        theirs = foolbox.attacks.HopSkipJumpAttack(steps=4, constraint=norm).run(
            foolbox.PyTorchModel(surrogate.victim, bounds=(0, 1)),
            x,
            foolbox.criteria.Misclassification(y),
        )
    handle.remove()
    budget = sum(asked) // len(x)
    ours = HopSkipJump(eps, queries=budget, norm=norm)(surrogate, x, y, seeds=seeds[:48])
    near = (distance(x, theirs, norm) <= eps) & (surrogate.victim(theirs).argmax(1) != y)
    assert left(surrogate, ours, y) < int((~near).sum())


@pytest.mark.by_default("linf")
@norms
def test_counts_stops_and_more_queries_lose_nothing(
    norm: str, victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    """Scores that carry only the label give the same as full scores."""
    x, y, seeds, eps = images[:24], labels[:24], seeds[:24], RADIUS[norm] / 2
    asked: list[int] = []
    surrogate = BlackBox("labels")(victim, NoDefense())
    fooled = []
    for queries in (1, 60, 700):
        asked.clear()
        handle = victim.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
        attack = HopSkipJump(eps, queries=queries, norm=norm)
        made = attack.craft(surrogate, x, y, seeds=seeds)
        handle.remove()
        assert made.queries is not None
        assert sum(asked) == made.queries.sum()
        assert made.queries.max() <= queries
        assert distance(x, made.images, norm).max() <= eps * (1 + 1e-6)
        fooled.append(victim(made.images).argmax(1) != y)
    assert all(not (few & ~many).any() for few, many in pairwise(fooled))
    assert fooled[1].sum() < fooled[2].sum() < len(x)
    failed, clean = ~fooled[2], victim(x).argmax(1) == y
    assert made.queries[failed].min() > 300
    assert made.queries[fooled[2] & clean].min() < made.queries[failed].min()  # it leaves at once
    assert distance(x, made.images, norm)[failed].min() > 0.99 * eps  # a failed try is at eps
    scored = attack.craft(BlackBox("scores")(victim, NoDefense()), x, y, seeds=seeds)
    assert torch.equal(scored.images, made.images)


@pytest.mark.by_default("l2")
@norms
def test_batch_and_chunk_change_no_bit(
    norm: str, row_surrogate: VictimSurrogate, seeds: Tensor
) -> None:
    x = torch.rand(12, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    y, seeds = row_surrogate.victim(x).argmax(1), seeds[:12]
    settings = {"queries": 350, "norm": norm}
    whole = HopSkipJump(RADIUS[norm] / 3, **settings).craft(row_surrogate, x, y, seeds=seeds)
    small = HopSkipJump(RADIUS[norm] / 3, **settings, chunk=7)
    parts = [
        small.craft(row_surrogate, x[i : i + 5], y[i : i + 5], seeds=seeds[i : i + 5])
        for i in range(0, 12, 5)
    ]
    assert whole.queries is not None
    assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
    assert whole.queries.tolist() == [
        count for part in parts if part.queries is not None for count in part.queries.tolist()
    ]


def test_targeted(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y = images[:30], labels[:30]
    attack = HopSkipJump(3.0, queries=2000, target=NextClass())
    assert left(surrogate, attack(surrogate, x, y, seeds=seeds[:30]), (y + 1) % 3) > 27


def test_masks(pixel_surrogate: VictimSurrogate) -> None:
    x = torch.rand(4, 3, 8, 6, generator=torch.Generator().manual_seed(8))
    y, seeds = pixel_surrogate.victim(x).argmax(1), torch.arange(4)
    made = HopSkipJump(2.0, queries=800).craft(pixel_surrogate, x, y, seeds=seeds)
    assert JaccardBelow().away(pixel_surrogate(made.images, seeds), y).all()


def test_without_a_start_the_clean_image_is_returned(wrap: Wrap) -> None:
    class Deaf(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([1.0, 0.0]).expand(len(x), 2)

    x, y = torch.rand(3, 3, 5, 4), torch.zeros(3, dtype=torch.int64)
    attack = HopSkipJump(0.5, queries=50, starts=9)
    made = attack.craft(wrap(Deaf()), x, y, seeds=torch.arange(3))
    assert torch.equal(made.images, x)
    assert made.queries is not None
    assert made.queries.tolist() == [10, 10, 10]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("queries", 0, r"attack\.queries=0"),
        ("starts", 0, r"attack\.starts=0"),
        ("gamma", 0, r"attack\.gamma=0"),
        ("norm", "l1", r"attack\.norm='l1', expected linf or l2"),
    ],
)
def test_bad_settings_are_refused(key: str, value: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        HopSkipJump(0.5, **{"queries": 10, key: value})


def test_config() -> None:
    attack = build("+attack=hopskipjump")
    assert isinstance(attack, HopSkipJump)
    assert (attack.eps, attack.norm, attack.queries) == (0.5, "l2", 10000)
    linf = build("+attack=hopskipjump", "attack.norm=linf", "attack.eps=8/255")
    assert (linf.eps, linf.norm) == (8 / 255, "linf")
