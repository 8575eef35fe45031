import pytest
import torch
from torch.nn import functional as F

from medrobust.attack.core.goal import Goal
from medrobust.attack.core.loss import Loss
from medrobust.attack.criterion.misclassified import Misclassified
from medrobust.attack.loss.cross_entropy import CrossEntropy
from medrobust.attack.loss.margin import Margin
from medrobust.prediction import Prediction

LOGITS = Prediction(torch.tensor([[5.0, 1.0, 3.0], [2.0, 9.0, -1.0]]))
Y = torch.tensor([0, 0])


def test_margin_by_hand() -> None:
    assert Margin().away(LOGITS, Y).tolist() == [-2.0, 7.0]
    assert Margin(kappa=3.0).away(LOGITS, Y).tolist() == [-2.0, 3.0]
    assert Margin().toward(LOGITS, Y).tolist() == [2.0, -7.0]
    with pytest.raises(ValueError, match="two classes"):
        Margin().away(Prediction(torch.zeros(2, 1)), Y)


def test_cross_entropy_by_hand() -> None:
    wanted = -LOGITS.logits.softmax(1)[:, 0].log()
    torch.testing.assert_close(CrossEntropy().away(LOGITS, Y), wanted)
    torch.testing.assert_close(CrossEntropy().toward(LOGITS, Y), -wanted)


@pytest.mark.parametrize("loss", [CrossEntropy(), Margin()])
def test_masks_average_over_pixels(loss: Loss) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, 2, 5, generator=generator)
    y = torch.randint(3, (4, 2, 5), generator=generator)
    pixels = Prediction(logits.movedim(1, -1).reshape(-1, 3))
    wanted = loss.away(pixels, y.flatten()).view(4, -1).mean(1)
    torch.testing.assert_close(loss.away(Prediction(logits), y), wanted)


@pytest.mark.parametrize("loss", [CrossEntropy(), Margin()])
def test_grows_as_the_goal_nears(loss: Loss) -> None:
    logits = torch.tensor([[1.0, 0.5, 0.0]], requires_grad=True)
    y = torch.tensor([0])
    away = Goal(loss, Misclassified(), y)
    (grad,) = torch.autograd.grad(away.value(Prediction(logits)).sum(), logits)
    assert grad[0, 0] < 0
    toward = Goal(loss, Misclassified(), y, targeted=True)
    (grad,) = torch.autograd.grad(toward.value(Prediction(logits)).sum(), logits)
    assert grad[0, 0] > 0


def test_cross_entropy_against_torch() -> None:
    assert torch.equal(
        CrossEntropy().away(LOGITS, Y), F.cross_entropy(LOGITS.logits, Y, reduction="none")
    )
