from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from segmentation_models_pytorch.losses import DiceLoss
from torch import Tensor

from medrobust.attack.loss.dice import Dice
from medrobust.attack.pgd import PGD
from medrobust.prediction import Prediction
from medrobust.threat.surrogate import VictimSurrogate

CONF = Path(__file__).parents[3] / "conf"


def random(classes: int, count: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    logits = 2 * torch.randn(count, classes, 6, 7, generator=generator)
    return logits, torch.randint(classes, (count, 6, 7), generator=generator)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_equals_segmentation_models(classes: int) -> None:
    """Theirs is a mean over the classes named, here the foreground, of one image at a time; its
    smooth is added to half of our fraction."""
    logits, y = random(classes)
    peer = DiceLoss("multiclass", classes=list(range(1, classes)), from_logits=True, smooth=0.5)
    theirs = torch.stack([peer(logits[[i]], y[[i]]) for i in range(len(y))])
    torch.testing.assert_close(Dice().away(Prediction(logits), y), theirs)
    torch.testing.assert_close(Dice().toward(Prediction(logits), y), 1 - theirs)


def test_by_hand() -> None:
    probability = torch.tensor([[0.2, 0.6], [0.8, 0.4]])
    logits = torch.stack([1 - probability, probability]).log()[None]
    y = torch.tensor([[[0, 1], [1, 1]]])
    both, either = 0.6 + 0.8 + 0.4, 2.0 + 3
    wanted = 1 - (2 * both + 3) / (either + 3)
    assert Dice(smooth=3).away(Prediction(logits), y).item() == pytest.approx(wanted)


def test_ends_of_its_range() -> None:
    y = torch.tensor([[[0, 1], [1, 0]]])
    sure = 100 * torch.nn.functional.one_hot(y, 2).movedim(-1, 1).float()
    assert Dice().away(Prediction(sure), y).item() == pytest.approx(0)
    assert Dice().away(Prediction(-sure), y).item() == pytest.approx(1 - 1 / 5)


def test_an_absent_class_still_has_a_gradient() -> None:
    logits = torch.zeros(1, 2, 3, 3, requires_grad=True)
    y = torch.zeros(1, 3, 3, dtype=torch.int64)
    (grad,) = torch.autograd.grad(Dice().away(Prediction(logits), y).sum(), logits)
    assert (grad[:, 1] > 0).all()


def test_half_precision_sums_are_wide() -> None:
    logits = torch.randn(1, 2, 200, 200, generator=torch.Generator().manual_seed(0)).bfloat16()
    y = torch.ones(1, 200, 200, dtype=torch.int64)
    exact = Dice().away(Prediction(logits.double()), y)
    torch.testing.assert_close(
        Dice().away(Prediction(logits), y).double(), exact, rtol=1e-5, atol=0
    )


def test_pgd_on_dice_lowers_dice_more_than_on_cross_entropy(
    pixel_surrogate: VictimSurrogate,
) -> None:
    x = torch.rand(8, 3, 10, 14, generator=torch.Generator().manual_seed(8))
    victim = pixel_surrogate.victim
    y = victim(x).argmax(1)
    y = y * (y == 1)  # one foreground class of some images
    soft = []
    for loss in (None, Dice()):
        attack = PGD(8 / 255, steps=20, loss=loss)
        found = attack(pixel_surrogate, x, y, seeds=torch.arange(8))
        soft.append(Dice().away(Prediction(victim(found)), y))
    assert (soft[1] > soft[0]).all()
    assert (soft[0] > Dice().away(Prediction(victim(x)), y)).all()


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"needs masks .* set attack/loss=cross_entropy"):
        Dice().away(Prediction(torch.zeros(2, 3)), torch.zeros(2, dtype=torch.int64))
    for smooth in (0, -1, "much"):
        with pytest.raises(ValueError, match=r"loss\.smooth="):
            Dice(smooth)


def test_config() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        attack = instantiate(compose(overrides=["+attack=pgd", "attack/loss=dice"]).attack)
    assert isinstance(attack.loss, Dice)
    assert attack.loss.smooth == 1
