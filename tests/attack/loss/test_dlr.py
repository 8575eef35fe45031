import pytest
import torch

from medrobust.attack.loss.dlr import DLR, DLROrMargin
from medrobust.attack.loss.margin import Margin
from medrobust.attack.pgd import PGD
from medrobust.attack.target.next_class import NextClass
from medrobust.prediction import Prediction
from medrobust.threat.surrogate import VictimSurrogate

LOGITS = Prediction(torch.tensor([[5.0, 1.0, 3.0, -4.0], [2.0, 9.0, -1.0, 8.0]]))
Y = torch.tensor([0, 0])


def test_by_hand() -> None:
    assert DLR().away(LOGITS, Y).tolist() == pytest.approx([-2 / 4, 7 / 7])
    assert DLR().toward(LOGITS, Y).tolist() == pytest.approx([2 / 6.5, -7 / 8.5])


def test_as_the_reference() -> None:
    peer = pytest.importorskip("pyautoattack.autopgd_base")
    theirs = peer.APGDAttack(None, eps=0.1, device="cpu")
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(50, 7, generator=generator), torch.arange(50) % 7
    torch.testing.assert_close(DLR().away(Prediction(logits), y), theirs.dlr_loss(logits, y))


def test_neither_shift_nor_scale_changes_it() -> None:
    moved = Prediction(1e4 * LOGITS.logits - 20)
    torch.testing.assert_close(DLR().away(moved, Y), DLR().away(LOGITS, Y))
    torch.testing.assert_close(DLR().toward(moved, Y), DLR().toward(LOGITS, Y))


def test_masks_average_over_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, 2, 3, generator=generator)
    y = torch.randint(5, (4, 2, 3), generator=generator)
    pixels = Prediction(logits.movedim(1, -1).reshape(-1, 5))
    for loss in (DLR(), DLROrMargin()):
        for rule in (loss.away, loss.toward):
            wanted = rule(pixels, y.flatten()).view(4, -1).mean(1)
            torch.testing.assert_close(rule(Prediction(logits), y), wanted)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_ties_stay_finite(dtype: torch.dtype) -> None:
    logits = torch.tensor(
        [[1.0, 1, 1, 1], [3.0, 3, 3, 0], [0.0, 2, 2, 2]], dtype=dtype, requires_grad=True
    )
    for rule in (DLR().away, DLR().toward):
        loss = rule(Prediction(logits), torch.zeros(3, dtype=torch.int64))
        (grad,) = torch.autograd.grad(loss.sum(), logits)
        assert loss.isfinite().all()
        assert grad.isfinite().all() or dtype == torch.float16  # whose largest number is 65504


def test_too_few_classes_are_refused_by_number() -> None:
    with pytest.raises(ValueError, match=r"three classes, the model has 2: set attack/loss"):
        DLR().away(Prediction(torch.zeros(3, 2)), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"four classes, the model has 3: set attack/loss"):
        DLR().toward(Prediction(torch.zeros(3, 3)), torch.zeros(3, dtype=torch.int64))


def test_any_gradient_attack_carries_it(row_surrogate: VictimSurrogate) -> None:
    x = torch.rand(20, 3, 6, 5, generator=torch.Generator().manual_seed(5))
    y = row_surrogate.victim(x).argmax(1)
    found = PGD(0.2, steps=20, loss=DLR())(row_surrogate, x, y, seeds=torch.arange(20))
    assert (row_surrogate.victim(found).argmax(1) != y).float().mean() > 0.8
    attack = PGD(0.2, steps=20, loss=DLR(), target=NextClass())
    found = attack(row_surrogate, x, y, seeds=torch.arange(20))
    assert (row_surrogate.victim(found).argmax(1) == (y + 1) % 4).float().mean() > 0.7


def test_margin_where_it_is_undefined() -> None:
    """Two classes always, three toward a target; else DLR."""
    margin = Margin("1e9")
    for classes in (2, 3, 4):
        seen = Prediction(torch.randn(9, classes, generator=torch.Generator().manual_seed(0)))
        y = torch.arange(9) % classes
        away, toward = DLROrMargin().away(seen, y), DLROrMargin().toward(seen, y)
        assert torch.equal(away, (DLR() if classes > 2 else margin).away(seen, y))
        assert torch.equal(toward, (DLR() if classes > 3 else margin).toward(seen, y))
