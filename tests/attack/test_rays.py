from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from medrobust.attack.core.base import AttackError
from medrobust.attack.core.norm import distance
from medrobust.attack.rays import RayS
from medrobust.attack.target.next_class import NextClass
from medrobust.defense.none import NoDefense
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import VictimSurrogate
from tests.attack.test_config import build

Wrap = Callable[..., VictimSurrogate]
EPS = 4 / 255


def slow(
    fooled: Callable[[NDArray[np.float64]], bool],
    x: NDArray[np.float64],
    eps: float,
    queries: int,
    knows_eps: bool,
) -> tuple[bool, int, bool]:
    """RayS as its authors' code has it, one image at a time; the clean image is query one.

    Returns success, queries, and whether the first ray, to the black image, reached the goal:
    where it did not, ours leaves the paper.

    Args:
        fooled: the oracle.
        x: flat image.
        eps: budget.
        queries: budget.
        knows_eps: False = the authors' bisection, which starts in the middle of [0, radius] and
            finishes before the radius is compared with eps. True = first at eps, then above it.
    """
    size, asked = x.size, 1
    best, radius = np.ones(size), 1.0
    width = 1e-3 / np.sqrt(size)

    def ask(sign: NDArray[np.float64], r: float) -> bool:
        nonlocal asked
        if asked == queries:
            raise TimeoutError
        asked += 1
        return fooled(np.clip(x + r * sign, 0, 1))

    level, block, first = 0, 0, True
    try:
        while True:
            length = int(np.ceil(size / 2**level))
            start, end = block * length, min(size, (block + 1) * length)
            trial = best.copy()
            trial[start:end] *= -1
            if ask(trial, radius):
                low, high = 0.0, radius
                if knows_eps:
                    if ask(trial, eps):
                        return True, asked, first
                    low = eps
                while high - low > width:
                    middle = (low + high) / 2
                    if ask(trial, middle):
                        high = middle
                    else:
                        low = middle
                if high < radius:
                    best, radius = trial, high
                if radius <= eps:
                    return True, asked, first
            elif level == 0:
                first = False
            block += 1
            if block == 2**level or end == size:
                level, block = level + 1, 0
    except TimeoutError:
        return False, asked, first


@pytest.fixture(scope="module")
def toy(row_surrogate: VictimSurrogate) -> tuple[VictimSurrogate, Tensor, Tensor, Tensor]:
    """20 images of 90 numbers in float64, all classified as labelled."""
    victim = Victim(row_surrogate.victim.network, mean=[0.5] * 3, std=[0.25] * 3, architecture={})
    surrogate = VictimSurrogate(victim.freeze().double())
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(20, 3, 6, 5, generator=generator, dtype=torch.float64)
    x[:, :, 0] = 0.0
    return surrogate, x, victim(x).argmax(1), sample_seeds(1, [str(i) for i in range(20)])


def judge(surrogate: VictimSurrogate, shape: torch.Size, label: Tensor) -> Callable[..., bool]:
    return lambda flat: bool(
        surrogate.victim(torch.from_numpy(flat).view(1, *shape)).argmax(1) != label
    )


@pytest.mark.by_default("30")
@pytest.mark.parametrize("queries", [30, 300])
def test_query_by_query_the_slow_one(
    toy: tuple[VictimSurrogate, Tensor, Tensor, Tensor], queries: int
) -> None:
    surrogate, x, y, seeds = toy
    eps = 4 * EPS
    made = RayS(eps, queries=queries).craft(surrogate, x, y, seeds=seeds)
    fooled = surrogate.victim(made.images).argmax(1) != y
    assert made.queries is not None
    ours = list(zip(fooled.tolist(), made.queries.tolist(), strict=True))
    same, plain = 0, []
    for i in range(len(x)):
        arguments = judge(surrogate, x.shape[1:], y[i]), x[i].flatten().numpy(), eps, queries
        *known, first = slow(*arguments, knows_eps=True)
        plain.append(slow(*arguments, knows_eps=False))
        if first:
            same += 1
            assert ours[i] == tuple(known)
    assert same > 2
    # Either rule wins an image now and then, and saves queries on others; ours asks hardly more.
    assert fooled.sum() + 2 >= sum(found for found, _, _ in plain) > 0
    assert made.queries.sum() <= 1.05 * sum(asked for _, asked, _ in plain)


def test_radius_of_a_linear_model(wrap: Wrap) -> None:
    """The decision radius is |f| / ||w||_1: found within 2 %, and nothing is found below."""

    class Line(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(
                torch.randn(48, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
            )

        def forward(self, x: Tensor) -> Tensor:
            half = (x.flatten(1) * self.weight).sum(1) / 2
            return torch.stack([-half, half], 1)

    surrogate = wrap(Line())
    surrogate.double()
    generator = torch.Generator().manual_seed(2)
    x = 0.4 + 0.2 * torch.rand(20, 3, 4, 4, generator=generator, dtype=torch.float64)
    logits = surrogate.victim(x)
    slope = surrogate.victim.network.weight.abs().sum() / 0.25  # the victim's std
    radius = (logits[:, 0] - logits[:, 1]).abs() / slope
    y = logits.argmax(1)
    chosen = (radius > 0.01).nonzero().flatten()[:3].tolist()
    assert len(chosen) == 3
    for i in chosen:
        for factor, queries, expected in ((1.02, 900, True), (0.98, 100, False)):
            attack = RayS(float(factor * radius[i]), queries=queries)
            found = attack(surrogate, x[[i]], y[[i]], seeds=torch.tensor([0]))
            assert (surrogate.victim(found).argmax(1) != y[i]).item() is expected, (i, radius[i])


def test_only_labels_matter(victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor) -> None:
    """Scores, labels alone, and scores that are garbage but for their argmax: one result."""

    class Garbage(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits = victim.network(x)
            first = torch.nn.functional.one_hot(logits.argmax(1), 3)
            return 1e6 * first + 1e5 * (1e3 * logits).sin()

    x, y, seeds = images[:30], labels[:30], seeds[:30]
    other = Victim(Garbage(), mean=[0.5] * 3, std=[0.25] * 3, architecture={}).freeze()
    surrogates = [
        BlackBox("scores")(victim, NoDefense()),
        BlackBox("labels")(victim, NoDefense()),
        VictimSurrogate(other),
    ]
    attack = RayS(2 * EPS, queries=200)
    made = [attack.craft(surrogate, x, y, seeds=seeds) for surrogate in surrogates]
    for crafted in made[1:]:
        assert torch.equal(crafted.images, made[0].images)
        assert crafted.queries is not None
        assert made[0].queries is not None
        assert torch.equal(crafted.queries, made[0].queries)
    assert len(made[0].queries.unique()) > 2


@pytest.mark.slow
def test_counts_stops_and_more_queries_lose_nothing(
    victim: Victim, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y, seeds = images[:60], labels[:60], seeds[:60]
    asked: list[int] = []
    fooled = []
    for queries in (2, 200, 600):
        asked.clear()
        handle = victim.register_forward_pre_hook(lambda _, inputs: asked.append(len(inputs[0])))
        made = RayS(2 * EPS, queries=queries).craft(VictimSurrogate(victim), x, y, seeds=seeds)
        handle.remove()
        assert made.queries is not None
        fooled.append(victim(made.images).argmax(1) != y)
        assert sum(asked) == made.queries.sum()
        assert (made.queries[~fooled[-1]] == queries).all()
        assert (made.queries[fooled[-1]] < queries).any() or queries == 2
        # Found or not, the return is at eps wherever it is not cut.
        moved = (victim(x).argmax(1) == y).nonzero().flatten()
        used = distance(x[moved], made.images[moved], "linf")
        assert used.max() <= 2 * EPS
        assert used.min() > 2 * EPS * (1 - 1e-5)
    assert not (fooled[0] & ~fooled[1]).any()
    assert not (fooled[1] & ~fooled[2]).any()
    assert fooled[0].sum() < fooled[1].sum() < fooled[2].sum()


@pytest.mark.by_default("5")
@pytest.mark.parametrize("size", [1, 5, 16])
def test_batch_and_chunk_change_no_bit(
    size: int, row_surrogate: VictimSurrogate, seeds: Tensor
) -> None:
    x = torch.rand(20, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    y, seeds = row_surrogate.victim(x).argmax(1), seeds[:20]
    whole = RayS(EPS, queries=80)(row_surrogate, x, y, seeds=seeds)
    small = RayS(EPS, queries=80, chunk=4)
    parts = [
        small(row_surrogate, x[i : i + size], y[i : i + size], seeds=seeds[i : i + size])
        for i in range(0, 20, size)
    ]
    assert torch.equal(whole, torch.cat(parts))


def test_targeted(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    x, y = images[:40], labels[:40]
    attack = RayS("40/255", queries=1000, target=NextClass())
    reached = surrogate.victim(attack(surrogate, x, y, seeds=seeds[:40])).argmax(1) == (y + 1) % 3
    assert reached.float().mean() > 0.9


def test_masks_are_refused(pixel_surrogate: VictimSurrogate) -> None:
    x, y = torch.rand(2, 3, 6, 6), torch.zeros(2, 6, 6, dtype=torch.int64)
    with pytest.raises(AttackError, match="RayS is defined for one label per image"):
        RayS(EPS, queries=10)(pixel_surrogate, x, y, seeds=torch.arange(2))


@pytest.mark.parametrize(
    ("key", "value"), [("queries", 0), ("queries", -3), ("queries", 2.5), ("tolerance", 0)]
)
def test_bad_settings_are_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"attack\.{key}="):
        RayS(EPS, **{"queries": 10, key: value})


def test_configs() -> None:
    attack = build("+attack=rays")
    assert isinstance(attack, RayS)
    assert (attack.eps, attack.queries) == (8 / 255, 10000)
    assert isinstance(build("+attack=rays", "attack/target=next_class").target, NextClass)
