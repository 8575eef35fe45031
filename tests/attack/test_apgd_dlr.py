from collections.abc import Iterator

import pytest
import torch

from medrobust.attack.apgd import APGD, NORMS
from medrobust.attack.apgd_dlr import APGDDLR
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.loss.margin import Margin
from medrobust.attack.target.next_class import NextClass
from medrobust.rng import fold_in
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.apgd_peer import fragile, loss_at, reference, standing

EPS = 4 / 255


@pytest.fixture
def double() -> Iterator[None]:
    """The reference makes its own tensors in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.by_default(
    "0.00392156862745098-100-10", "0.00392156862745098-20-3", "0.01568627450980392-20-10"
)
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("classes", [3, 10])
@pytest.mark.parametrize("steps", [20, 100])
@pytest.mark.parametrize("eps", [1 / 255, EPS])
def test_same_points_as_the_reference(eps: float, steps: int, classes: int) -> None:
    surrogate, x, y, seeds = fragile(classes, dtype=torch.float64)
    found = APGDDLR(eps, steps=steps)(surrogate, x, y, seeds=seeds)
    peer = reference(surrogate.victim, "dlr", "linf", eps, steps)
    theirs, right = peer.climb(x, y, NORMS["linf"][0](x, eps).draw(fold_in(seeds, 0)))
    assert torch.equal(standing(surrogate, found, y), right)
    loss = [loss_at(surrogate, points, y, "dlr", peer) for points in (found, theirs)]
    torch.testing.assert_close(*loss, atol=1e-9, rtol=1e-9)
    # DLR is 1 wherever the true class is third: of equal points ours keeps the last one.
    flat = loss[1] > 1 - 1e-9
    apart = (found - theirs).abs().flatten(1).amax(1)
    assert (apart[~flat] < 1e-9).all()
    assert (~flat).sum() > 30  # enough are compared


def test_two_classes_use_the_margin() -> None:
    surrogate, x, y, seeds = fragile(2)
    found = APGDDLR(EPS, steps=20)(surrogate, x, y, seeds=seeds)
    margin = APGD(EPS, steps=20, loss=Margin("1e9"))(surrogate, x, y, seeds=seeds)
    assert torch.equal(found, margin)
    peer = pytest.importorskip("pyautoattack.autopgd_base")
    with pytest.raises(IndexError):
        peer.APGDAttack(surrogate.victim, n_iter=2, eps=EPS, loss="dlr", device="cpu").perturb(x, y)


@pytest.mark.parametrize("classes", [2, 3, 4, 7])
@pytest.mark.parametrize("targeted", [False, True])
def test_any_number_of_classes(classes: int, targeted: bool) -> None:
    surrogate, x, y, seeds = fragile(classes)
    rule = NextClass() if targeted else None
    mine = APGDDLR(EPS, steps=30, target=rule)(surrogate, x, y, seeds=seeds)
    other = CWLinf(EPS, steps=30, target=rule)(surrogate, x, y, seeds=seeds)
    aim = (y + 1) % classes if targeted else y
    left = [standing(surrogate, found, aim).sum() for found in (mine, other)]
    assert (left[0] >= left[1] - 1) if targeted else (left[0] <= left[1] + 1)


def test_masks_pixel_by_pixel(pixel_surrogate: VictimSurrogate) -> None:
    x = torch.rand(6, 3, 10, 14, generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        y = pixel_surrogate.victim(x).argmax(1)
        found = APGDDLR(16 / 255, steps=20)(pixel_surrogate, x, y, seeds=torch.arange(6))
        wrong = (pixel_surrogate.victim(found).argmax(1) != y).float().mean()
    assert wrong > 0.3
