"""The nearest adversarial image found so far."""

import pytest
import torch

from medrobust.attack.core.closest import Closest


def test_closest_keeps_the_nearest_that_reached() -> None:
    x = torch.zeros(3, 1, 1, 1)
    closest = Closest(x, "linf")
    rows, yes = torch.tensor([0, 2]), torch.tensor([True, True])
    closest.offer(rows, torch.tensor([0.5, 0.2]).view(2, 1, 1, 1), yes)
    closest.offer(rows, torch.tensor([0.4, 0.3]).view(2, 1, 1, 1), yes)
    closest.offer(rows, torch.tensor([0.1, 0.1]).view(2, 1, 1, 1), ~yes)
    assert closest.image.flatten().tolist() == pytest.approx([0.4, 0.0, 0.2])
    assert closest.reached.tolist() == [True, False, True]
