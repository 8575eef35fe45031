from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from medrobust.attack.apgd import NORMS
from medrobust.attack.apgd_ce import APGDCE
from medrobust.rng import fold_in
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.apgd_peer import fragile, loss_at, reference, standing


@pytest.fixture
def double() -> Iterator[None]:
    """The reference makes its own tensors in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.by_default(
    "l2-0.15-20-2", "linf-0.00392156862745098-100-2", "linf-0.01568627450980392-20-10"
)
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("steps", [20, 100])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 1 / 255), ("linf", 4 / 255), ("l2", 0.15)])
def test_same_points_as_the_reference(norm: str, eps: float, steps: int, classes: int) -> None:
    # Logits small enough that no loss is near the rounding of 1, where rises are noise.
    surrogate, x, y, seeds = fragile(classes, scale=0.2, dtype=torch.float64)
    found = APGDCE(eps, steps=steps, norm=norm)(surrogate, x, y, seeds=seeds)
    peer = reference(surrogate.victim, "ce", norm, eps, steps)
    start = NORMS[norm][0](x, eps).draw(fold_in(seeds, 0))
    theirs, right = peer.climb(x, y, start)
    apart = (found - theirs).abs().amax()
    assert torch.equal(standing(surrogate, found, y), right)
    if norm == "linf":
        assert apart < 1e-9
    else:  # at the optimum rounding decides which losses rose
        assert apart < 1e-6
        loss = [loss_at(surrogate, points, y, "ce", peer) for points in (found, theirs)]
        torch.testing.assert_close(*loss, atol=1e-8, rtol=0)


def test_early_stop_and_restarts_as_in_perturb_of_the_reference() -> None:
    """Robust accuracy from starts that are drawn differently: equal within an image."""
    peer = pytest.importorskip("pyautoattack.autopgd_base")
    for eps in (1 / 255, 2 / 255, 4 / 255):
        surrogate, x, y, seeds = fragile(10)
        attack = APGDCE(eps, steps=30, restarts=2, early_stop=True)
        ours = standing(surrogate, attack(surrogate, x, y, seeds=seeds), y)
        run = peer.APGDAttack(surrogate.victim, n_iter=30, n_restarts=2, eps=eps, device="cpu")
        theirs = standing(surrogate, run.perturb(x, y), y)
        assert abs(int(ours.sum()) - int(theirs.sum())) <= 1
        assert 10 < ours.sum() < 90


def test_masks(pixel_surrogate: VictimSurrogate) -> None:
    x = torch.rand(6, 3, 10, 14, generator=torch.Generator().manual_seed(8))
    with torch.no_grad():
        y = pixel_surrogate.victim(x).argmax(1)
        found: Tensor = APGDCE(16 / 255, steps=20)(pixel_surrogate, x, y, seeds=torch.arange(6))
        wrong = (pixel_surrogate.victim(found).argmax(1) != y).float().mean()
    assert wrong > 0.3
