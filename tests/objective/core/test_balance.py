import torch

from medrobust.objective.core.balance import balanced_weights


def test_balanced_weights_are_inverse_frequencies() -> None:
    weights = balanced_weights(torch.tensor([1, 3, 0, 4]))
    expected = torch.tensor([8 / 3, 8 / 9, 0, 8 / 12])  # N / (classes present * n_k)
    torch.testing.assert_close(weights, expected)
    assert torch.equal(balanced_weights(torch.tensor([5, 5])), torch.ones(2))


def test_every_class_weighs_alike() -> None:
    counts = torch.tensor([7, 1, 92])
    shares = counts * balanced_weights(counts)
    torch.testing.assert_close(shares, torch.full((3,), 100 / 3))
