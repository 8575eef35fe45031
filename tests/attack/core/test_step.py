import pytest
import torch

from medrobust.attack.core.step import Momentum, sign, unit_l2


def test_sign() -> None:
    grad = torch.tensor([[[[-2.0, 0.0, 1e-30]]]])
    assert sign(grad, None)[0].tolist() == [[[[-1.0, 0.0, 1.0]]]]


@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1.0, 1e20, 1e36])
def test_unit_l2_at_any_scale(scale: float) -> None:
    """A nearly saturated model has tiny gradients, whose squares are zero in float32."""
    grad = torch.tensor([[[[3.0, -4.0]]], [[[0.0, 0.0]]]]) * scale
    found, _ = unit_l2(grad, None)
    torch.testing.assert_close(found, torch.tensor([[[[0.6, -0.8]]], [[[0.0, 0.0]]]]))


def test_momentum_by_hand() -> None:
    rule = Momentum(0.5)
    first, memory = rule(torch.tensor([[[[1.0, -3.0]]]]), None)
    assert first.flatten().tolist() == [1, -1]
    second, memory = rule(torch.tensor([[[[-1.0, 1.0]]]]), memory)
    # 0.5 * (1/4, -3/4) + (-1/2, 1/2)
    assert memory is not None
    torch.testing.assert_close(memory.flatten(), torch.tensor([-0.375, 0.125]))
    assert second.flatten().tolist() == [-1, 1]


def test_momentum_with_zero_gradient_keeps_the_past() -> None:
    rule = Momentum(1.0)
    _, memory = rule(torch.tensor([[[[1.0, -3.0]]]]), None)
    direction, _ = rule(torch.zeros(1, 1, 1, 2), memory)
    assert direction.flatten().tolist() == [1, -1]
