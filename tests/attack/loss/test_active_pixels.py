import pytest
import torch

from medrobust.attack.criterion.every_pixel import EveryPixel
from medrobust.attack.loss.active_pixels import ActivePixels
from medrobust.prediction import Prediction


def test_by_hand() -> None:
    logits = torch.tensor([[3.0, 0.0], [1.0, 2.0], [0.0, 5.0]]).view(1, 3, 1, 2)
    y = torch.tensor([[[0, 1]]])  # the first pixel is right, the second is not
    loss = ActivePixels()
    with pytest.raises(RuntimeError, match="call bind first"):
        loss.away(Prediction(logits), y)
    loss.adversarial = torch.tensor([[[2, 0]]])
    assert loss.away(Prediction(logits), y).item() == (0 - 3) / 2
    assert loss.at(torch.tensor([0, 0])).away(
        Prediction(logits.expand(2, -1, -1, -1)), y.expand(2, -1, -1)
    ).tolist() == [-1.5, -1.5]
    assert loss.toward(Prediction(logits), y).item() == (2 - 5) / 2
    assert not EveryPixel().away(Prediction(logits), y).any()
    assert EveryPixel().away(Prediction(logits), torch.tensor([[[1, 1]]])).all()
    assert EveryPixel().toward(Prediction(logits), torch.tensor([[[0, 2]]])).all()
