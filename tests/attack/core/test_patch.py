import pytest
import torch

from medrobust.attack.core.norm import distance
from medrobust.attack.core.patch import L2Patches, LinfPatches, _bump


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 9])
def test_bump_is_the_authors(side: int) -> None:
    peer = pytest.importorskip("pyautoattack.square")
    theirs = peer.SquareAttack(None, norm="L2", eps=1.0, device=torch.device("cpu"))
    ours = _bump(side, torch.zeros(1))
    torch.manual_seed(0)
    for _ in range(8):  # theirs is turned at random
        other = theirs.eta(side)
        assert min(float((other - turned).abs().max()) for turned in ours) < 1e-6
    assert (ours**2).sum((1, 2)).tolist() == pytest.approx([1, 1])
    assert torch.equal(ours[0], ours[1].T)


def test_squares_lie_everywhere_and_each_image_has_its_own() -> None:
    x = torch.full((400, 2, 5, 8), 0.5)
    patches = LinfPatches(x, 0.1)
    changed = patches.propose(x, 3.2, torch.arange(400)) != x
    assert (changed.flatten(1).sum(1) == 2 * 3 * 3).all()
    assert changed.any(1).flatten(1).unique(dim=0).shape[0] == (5 - 2) * (8 - 2)
    sign = (patches.propose(x, 8.0, torch.arange(400)) - x).sign().flatten(2).sum(2)
    assert sign.abs().eq(25).all()  # no larger than the shorter side
    assert (sign > 0).long().unique(dim=0).shape[0] == 4


@pytest.mark.parametrize("channels", [1, 3])
def test_no_query_is_lost_in_linf(channels: int) -> None:
    x = torch.rand(200, channels, 4, 4, generator=torch.Generator().manual_seed(0))
    patches = LinfPatches(x, 0.1)
    point = patches.start(torch.arange(200))
    ends = torch.stack([(x - 0.1).clamp(min=0), (x + 0.1).clamp(max=1)])
    assert (point - ends).abs().amin(0).max() < 1e-7
    assert (point > x).eq((point > x)[:, :, :1]).all()  # vertical stripes
    after = patches.propose(point, 1.0, torch.arange(200) + 1)
    assert (after != point).flatten(1).any(1).all()


@pytest.mark.parametrize("size", [(12, 12), (4, 7), (28, 28), (14, 9)])
def test_l2_points_lie_on_the_sphere(size: tuple[int, int]) -> None:
    x = torch.full((50, 3, *size), 0.5, dtype=torch.float64)
    patches = L2Patches(x, 0.3)
    point = patches.start(torch.arange(50))
    assert distance(x, point, "l2").sub(0.3).abs().max() < 1e-6
    assert point.flatten(1).unique(dim=0).shape[0] == 50
    for step in range(1, 6):
        after = patches.propose(point, 3.0, torch.arange(50) + 50 * step)
        assert distance(x, after, "l2").sub(0.3).abs().max() < 1e-6
        moved = ((after - point).abs() > 1e-9).any(1).flatten(1).sum(1)
        assert 0 < moved.max() <= 18  # two squares
        point = after
