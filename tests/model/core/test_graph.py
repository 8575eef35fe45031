"""Graph convolutions against dense NumPy, and what a classifier on a graph is."""

import numpy as np
import pytest
import torch

from medrobust.model.core.graph import GraphClassifier, GraphConvolution, chain, normalised


def propagation(adjacency: np.ndarray) -> np.ndarray:
    """Kipf and Welling's, entry by entry: (A + I)_ij / sqrt(d_i d_j)."""
    count, adjacency = len(adjacency), adjacency.astype(float)
    degree = [1 + sum(adjacency[i]) for i in range(count)]
    return np.array(
        [
            [(adjacency[i, j] + (i == j)) / np.sqrt(degree[i] * degree[j]) for j in range(count)]
            for i in range(count)
        ]
    )


def test_a_chain_joins_neighbours_only() -> None:
    apart = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    assert np.array_equal(chain(5).numpy(), apart == 1)
    assert chain(1).shape == (1, 1)
    assert chain(1).item() == 0


@pytest.mark.parametrize("nodes", [1, 2, 5, 9])
def test_the_normalised_chain_keeps_its_constant_direction(nodes: int) -> None:
    """Its largest eigenvalue is 1, at the square roots of the degrees."""
    found = normalised(chain(nodes).double()).numpy()
    np.testing.assert_allclose(found, propagation(chain(nodes).numpy()), rtol=1e-12)
    degree = chain(nodes).numpy().sum(1) + 1
    np.testing.assert_allclose(found @ np.sqrt(degree), np.sqrt(degree), rtol=1e-6)
    assert np.linalg.eigvalsh(found).max() <= 1 + 1e-9


def test_a_convolution_against_numpy() -> None:
    torch.manual_seed(1)
    random = torch.rand(6, 6).round()
    adjacency = (random + random.T).clamp(max=1).fill_diagonal_(0)
    layer = GraphConvolution(adjacency.double(), 4, 3).double()
    assert layer.weight.abs().max() <= 3**-0.5
    nodes = torch.randn(6, 4, dtype=torch.float64)
    wanted = propagation(adjacency.numpy()) @ nodes.numpy() @ layer.weight.detach().numpy()
    np.testing.assert_allclose(layer(nodes).detach().numpy(), wanted, rtol=1e-6, atol=1e-9)


def test_a_classifier_against_numpy() -> None:
    torch.manual_seed(2)
    head = GraphClassifier(7, chain(4), hidden=(6, 5))
    spread = propagation(chain(4).numpy())
    nodes = np.eye(4)
    for number, layer in enumerate(head.layers):
        nodes = np.where(nodes > 0, nodes, 0.2 * nodes) if number else nodes
        nodes = spread @ nodes @ layer.weight.detach().numpy()
    x = torch.randn(20, 7)
    np.testing.assert_allclose(head(x).detach().numpy(), x.numpy() @ nodes.T, rtol=1e-4, atol=1e-6)


def test_grades_learn_from_their_neighbours() -> None:
    """With one hidden layer a grade hears of those two steps away, and of no other."""
    head = GraphClassifier(3, chain(5))
    (grad,) = torch.autograd.grad(head.weights()[0].sum(), head.layers[0].weight)
    heard = grad.abs().sum(1) > 0  # rows are grades, since they start one-hot
    assert heard.tolist() == [True, True, True, False, False]


def test_rounding_does_not_depend_on_the_batch() -> None:
    head = GraphClassifier(64, chain(5), hidden=(16,))
    x = torch.randn(40, 64)
    whole = head(x)
    for size in (1, 3, 7):
        assert torch.equal(torch.cat([head(part) for part in x.split(size)]), whole)
