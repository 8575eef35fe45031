"""Square Attack beside the authors' code as AutoAttack has it (pyautoattack's SquareAttack).

What differs there, and is allowed for here:

- one place and one sign pattern per query serve the whole batch; ours has its own per image.
- squares never touch the last row and column (places are drawn below H - s); ours lie anywhere.
- a square that changes nothing is asked about; in L∞ ours gets other signs, as in the authors' own
  first code.
- `n_queries` counts proposals only; ours counts the clean image and the start as well.
- in L2 it fails on most small images: its grid of bumps leaves them (12 x 12 among others).
"""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn

from medrobust.attack.core.norm import distance
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.margin import Margin
from medrobust.attack.square import Square
from medrobust.attack.target.least_likely import LeastLikely
from medrobust.defense.none import NoDefense
from medrobust.rng import sample_seeds
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.surrogate import VictimSurrogate
from tests.attack.conftest import RowNet, make_victim

EPS = {"linf": 0.035, "l2": 0.5}
norms = pytest.mark.parametrize("norm", EPS)
Toy = tuple[VictimSurrogate, Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def toy() -> Toy:
    """A random network of four classes, images of 10 x 10 with its own answers."""
    surrogate = VictimSurrogate(make_victim(RowNet(3 * 10 * 10)))
    x = torch.rand(100, 3, 10, 10, generator=torch.Generator().manual_seed(5))
    return surrogate, x, surrogate.victim(x).argmax(1), sample_seeds(0, [*map(str, range(100))])


@pytest.mark.by_default("linf")
@norms
def test_as_strong_as_the_authors(norm: str, toy: Toy) -> None:
    peer = pytest.importorskip("pyautoattack.square")
    surrogate, x, y, seeds = toy
    eps = 0.8 * EPS[norm]
    theirs = peer.SquareAttack(
        surrogate.victim, norm={"linf": "Linf", "l2": "L2"}[norm], n_queries=198, eps=eps
    )
    torch.manual_seed(0)
    theirs.init_hyperparam(x)
    asked, other = theirs.attack_single_run(x, y)
    made = Square(eps, norm=norm, queries=200).craft(surrogate, x, y, seeds=seeds)
    assert made.queries is not None
    left = [
        float((surrogate.victim(f).argmax(1) == y).float().mean()) for f in (made.images, other)
    ]
    assert 0.1 < left[1] < 0.9
    assert left[0] <= left[1] + 0.02
    assert left[0] >= left[1] - 0.2  # the same attack, not another
    assert made.queries.float().mean() < 1.05 * (asked + 1).mean()


@pytest.mark.parametrize("queries", [300, 5000, 10000])
def test_schedule_is_the_authors(queries: int) -> None:
    peer = pytest.importorskip("pyautoattack.square")
    theirs = peer.SquareAttack(None, n_queries=queries, eps=0.1, p_init=0.7)
    ours = Square(0.1, queries=queries, p_init=0.7)
    for proposal in range(queries):  # the halvings are at single proposals
        assert ours.area(proposal) == theirs.p_selection(proposal)


@norms
def test_queries_are_counted_and_all_inside_the_box(norm: str, toy: Toy) -> None:
    surrogate, x, y, seeds = toy
    black_box = BlackBox()(surrogate.victim, NoDefense())
    asked: list[Tensor] = []
    handle = surrogate.victim.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[0]))
    made = Square(EPS[norm], norm=norm, queries=60).craft(black_box, x, y, seeds=seeds)
    handle.remove()
    seen = torch.cat(asked)
    assert made.queries is not None
    assert len(seen) == made.queries.sum()
    assert seen.amin() >= 0
    assert seen.amax() <= 1
    still = surrogate.victim(made.images).argmax(1) == y
    assert (made.queries[still] == 60).all()
    assert (made.queries[~still] < 60).float().mean() > 0.9
    assert 0.1 < still.float().mean() < 0.9


@pytest.mark.parametrize("queries", [1, 2, 3])
def test_few_queries(queries: int, toy: Toy) -> None:
    surrogate, x, y, seeds = toy
    made = Square(1e-7, queries=queries).craft(surrogate, x, y, seeds=seeds)
    assert made.queries is not None
    assert made.queries.tolist() == [queries] * len(x)


@norms
def test_batch_and_chunk_change_no_bit(norm: str, toy: Toy) -> None:
    surrogate, x, y, seeds = toy
    attack = Square(EPS[norm], norm=norm, queries=40)
    whole = attack.craft(surrogate, x, y, seeds=seeds)
    parts = [
        Square(EPS[norm], norm=norm, queries=40, chunk=3).craft(
            surrogate, x[i : i + 9], y[i : i + 9], seeds=seeds[i : i + 9]
        )
        for i in range(0, 45, 9)
    ]
    assert torch.equal(whole.images[:45], torch.cat([part.images for part in parts]))
    queries = [part.queries for part in parts if part.queries is not None]
    assert whole.queries is not None
    assert torch.equal(whole.queries[:45], torch.cat(queries))


@pytest.mark.by_default("2-l2", "7-linf")
@norms
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_classes_and_targets(norm: str, classes: int) -> None:
    surrogate = VictimSurrogate(make_victim(RowNet(3 * 6 * 5, classes=classes)))
    x = torch.rand(40, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    logits = surrogate.victim(x)
    y, target = logits.argmax(1), logits.argmin(1)
    found = Square(2 * EPS[norm], norm=norm, queries=80)(surrogate, x, y, seeds=torch.arange(40))
    assert (surrogate.victim(found).argmax(1) != y).float().mean() > 0.5
    aimed = Square(4 * EPS[norm], norm=norm, queries=150, target=LeastLikely())
    assert isinstance(aimed.loss, CrossEntropy)
    found = aimed(surrogate, x, y, seeds=torch.arange(40))
    assert (surrogate.victim(found).argmax(1) == target).float().mean() > 0.5


@norms
def test_more_queries_and_eps_only_help(norm: str, toy: Toy) -> None:
    """The schedule is scaled to the budget, so up to noise."""
    surrogate, x, y, seeds = toy
    left = [
        (
            surrogate.victim(
                Square(scale * EPS[norm], norm=norm, queries=queries)(surrogate, x, y, seeds=seeds)
            ).argmax(1)
            == y
        ).sum()
        for queries, scale in ((20, 0.5), (150, 0.5), (150, 1))
    ]
    assert left[1] < left[0] - 10
    assert left[2] < left[1] - 10


@pytest.mark.by_default("linf")
@norms
def test_masks(norm: str, pixel_surrogate: VictimSurrogate) -> None:
    x = torch.rand(6, 3, 10, 14, generator=torch.Generator().manual_seed(8))
    y = pixel_surrogate.victim(x).argmax(1)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(9))
    scale = {"linf": 0.1, "l2": 1.5}[norm]
    noise = (
        noise.sign()
        if norm == "linf"
        else noise / noise.flatten(1).norm(dim=1)[:, None, None, None]
    )
    wrong = []
    for queries in (2, 300):
        found = Square(scale, norm=norm, queries=queries)(
            pixel_surrogate, x, y, seeds=torch.arange(6)
        )
        wrong.append((pixel_surrogate.victim(found).argmax(1) != y).float().mean())
    random = pixel_surrogate.victim((x + scale * noise).clamp(0, 1)).argmax(1) != y
    assert wrong[1] > 1.3 * max(wrong[0], random.float().mean())


@pytest.mark.by_default("dtype0-linf", "dtype1-l2")
@norms
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes(norm: str, dtype: torch.dtype, toy: Toy) -> None:
    surrogate, x, y, seeds = toy
    other = VictimSurrogate(make_victim(RowNet(300)).to(dtype))
    attack = Square(EPS[norm], norm=norm, queries=60)
    found = attack(other, x.to(dtype), y, seeds=seeds)
    plain = attack(surrogate, x, y, seeds=seeds)
    left = (other.victim(found).argmax(1) == y).float().mean()
    assert found.dtype == dtype
    assert left < (surrogate.victim(plain).argmax(1) == y).float().mean() + 0.1
    assert distance(x.to(dtype), found, norm).max() <= EPS[norm] * (1 + 1e-6)


def test_the_margin_sees_through_saturated_logits(
    toy: Toy, wrap: Callable[..., VictimSurrogate]
) -> None:
    """In float32 the cross-entropy of logits times 1e6 is 0 wherever the image is not fooled."""
    surrogate, x, y, seeds = toy

    class Loud(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1e6 * surrogate.victim.network(x)

    loud = wrap(Loud())
    left = [
        (
            loud.victim(Square(0.06, queries=150, loss=loss)(loud, x, y, seeds=seeds)).argmax(1)
            == y
        ).sum()
        for loss in (None, CrossEntropy())
    ]
    assert isinstance(Square(0.1).loss, Margin)
    assert left[0] < left[1] - 5


def test_settings_and_config() -> None:
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        attack = instantiate(compose(overrides=["+attack=square"]).attack)
        l2 = ["+attack=square", "attack.norm=l2", "attack.eps=1.5", "attack/target=least_likely"]
        other = instantiate(compose(overrides=l2).attack)
    assert type(attack) is Square
    assert attack.settings == Square(8 / 255).settings | {"eps": "8/255"}
    assert (other.norm, other.eps) == ("l2", 1.5)
    assert other.settings["norm"] == "l2"
    assert math.isclose(attack.area(0), 0.8)
    assert Square(0.1, chunk=3).fingerprint == Square(0.1).fingerprint


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"attack\.norm='l1', expected linf or l2"):
        Square(0.1, norm="l1")
    with pytest.raises(ValueError, match=r"attack\.queries=0"):
        Square(0.1, queries=0)
    for share in (0, 1.1):
        with pytest.raises(ValueError, match=r"attack\.p_init="):
            Square(0.1, p_init=share)
