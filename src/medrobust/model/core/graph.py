"""Graph convolution (Kipf and Welling 2017), and a classifier whose weights it makes."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.model.core.conv import steady_linear

torch.fx.wrap("steady_linear")  # one step to the tracer, which cannot follow its branch

_SLOPE = 0.2  # of the leaky ReLU between the layers, as in ML-GCN


def chain(nodes: int) -> Tensor:
    """Adjacency (K, K) of ordered classes, each joined to the next: float32, without loops.

    Args:
        nodes: K, at least 1.
    """
    along = torch.ones(nodes - 1)
    return torch.diag(along, 1) + torch.diag(along, -1)


def normalised(adjacency: Tensor) -> Tensor:
    """D^(-1/2) (A + I) D^(-1/2), with D the degrees of A + I: the renormalisation of eq. 2.

    Args:
        adjacency: A, (K, K), symmetric, not negative.
    """
    looped = adjacency + torch.eye(len(adjacency), dtype=adjacency.dtype)
    scale = looped.sum(1).rsqrt()
    return scale[:, None] * looped * scale[None]


class GraphConvolution(nn.Module):
    """H -> Â H W, one linear layer of a graph network.

    Kipf and Welling 2017, "Semi-Supervised Classification with Graph Convolutional Networks",
    eq. 2, without the nonlinearity. Weights start uniform in ±1 / sqrt(outputs).

    Args:
        adjacency: A, (K, K), symmetric, not negative, without loops.
        inputs: features of a node.
        outputs: features of a node, after.
    """

    propagation: Tensor

    def __init__(self, adjacency: Tensor, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        nn.init.uniform_(self.weight, -(outputs**-0.5), outputs**-0.5)
        self.register_buffer("propagation", normalised(adjacency), persistent=False)

    def forward(self, nodes: Tensor) -> Tensor:
        """Features of the nodes (K, F) -> (K, F')."""
        return self.propagation @ (nodes @ self.weight)


class GraphClassifier(nn.Module):
    """A last layer in which classes that are joined share what they learn.

    Chen et al. 2019, "Multi-Label Image Recognition with Graph Convolutional Networks", eq. 4 to
    6: a graph network over the classes gives each class the weights by which an image's features
    are summed to its logit. The graph holds no image, so a frozen one is a linear layer without
    bias.

    The classes start as themselves (one-hot, Kipf and Welling's nodes without features), where
    ML-GCN takes word vectors.

    Args:
        features: D, of an image.
        adjacency: A, (K, K), of the classes.
        hidden: features of a class after each layer but the last.
    """

    classes: Tensor

    def __init__(self, features: int, adjacency: Tensor, hidden: Sequence[int] = (1024,)) -> None:
        super().__init__()
        sizes = [len(adjacency), *hidden, features]
        self.layers = nn.ModuleList(
            GraphConvolution(adjacency, before, after) for before, after in pairwise(sizes)
        )
        self.register_buffer("classes", torch.eye(len(adjacency)), persistent=False)

    def weights(self) -> Tensor:
        """What the graph network gives, (K, D)."""
        nodes = self.classes
        for number, layer in enumerate(self.layers):
            nodes = layer(F.leaky_relu(nodes, _SLOPE) if number else nodes)
        return nodes

    def forward(self, x: Tensor) -> Tensor:
        """Features of images (N, D) -> logits (N, K)."""
        return steady_linear(x, self.weights(), None)
