import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine

from medrobust.metric.perturbation import positive_cosines, variance


def test_variance_against_numpy() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(5, 3, 4, 6, generator=generator)
    adversarial = clean + 0.01 * torch.randn(clean.shape, generator=generator)
    scaled = (adversarial.numpy().astype(float) - clean.numpy()) / 0.03
    wanted = np.var(scaled.reshape(5, -1), axis=1)
    np.testing.assert_allclose(variance(clean, adversarial, 0.03).numpy(), wanted, rtol=1e-12)


def test_variance_of_signs_is_one_and_of_a_shift_zero() -> None:
    clean = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], dtype=torch.float64)
    moved = torch.stack([clean[0] + 0.1 * signs, clean[1] + 0.1])
    torch.testing.assert_close(
        variance(clean, moved, 0.1), torch.tensor([1.0, 0.0], dtype=torch.float64)
    )


def test_positive_cosines_against_scipy() -> None:
    generator = torch.Generator().manual_seed(1)
    points = torch.randn(8, 4, 1, 2, 3, generator=generator).cumsum(0).double()
    steps = points.diff(dim=0).flatten(2).numpy()
    wanted = [
        np.mean([cosine(steps[t, n], steps[t + 1, n]) < 1 for t in range(6)]) for n in range(4)
    ]
    assert positive_cosines(list(points)).tolist() == pytest.approx(wanted)
    assert 0 < np.mean(wanted) < 1


def test_a_step_of_length_zero_has_no_angle() -> None:
    def image(*values: float) -> torch.Tensor:
        return torch.tensor(values).view(-1, 1, 1, 1)

    # The first goes right, right, stays, left, left; the second never moves.
    points = [image(x, 0.0) for x in (0.0, 1.0, 2.0, 2.0, 1.0, 0.0)]
    share = positive_cosines(points)
    assert share[0] == 1.0
    assert share[1].isnan()
    back = positive_cosines([image(x) for x in (0.0, 1.0, 0.0, 1.0, 2.0)])
    assert back.tolist() == pytest.approx([1 / 3])
    with pytest.raises(ValueError, match="2 points"):
        positive_cosines(points[:2])
