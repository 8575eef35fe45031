"""A small regression network from vectors to vectors."""

from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.model.core.conv import steady_linear


class MLP(nn.Module):
    """Standardised inputs and two hidden layers with ReLU; rounding is independent of the batch.

    Inputs are standardised by running statistics (batch norm without weights), since layers of a
    network differ in scale.

    Args:
        inputs: length of an input.
        outputs: length of an output.
        hidden: width of both hidden layers.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int) -> None:
        super().__init__()
        self.scale = nn.BatchNorm1d(inputs, affine=False)
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs) to (N, outputs)."""
        x = self.scale(x)
        for layer in (self.first, self.second):
            x = F.relu(steady_linear(x, layer.weight, layer.bias))
        return steady_linear(x, self.last.weight, self.last.bias)
