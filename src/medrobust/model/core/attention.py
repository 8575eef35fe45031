"""Additive grid attention (Schlemper et al. 2019, "Attention Gated Networks")."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GridAttention(nn.Module):
    """Attention pooling of a feature map, weighted by its relevance to a coarser gating map.

    The score is q_i = ψᵀ ReLU(W_xᵀ x_i + W_gᵀ g_i + b) + b_ψ, with the gating map g resized
    bilinearly to the grid of x, and b zero as in the authors' code. The map α is q normalised over
    the image (`Share`), and the output is the weighted mean Σ_i α_i x_i.

    Args:
        channels: channels of the feature map x.
        gating: channels of the gating map g.
        inner: channels of the common space.
    """

    def __init__(self, channels: int, gating: int, inner: int) -> None:
        super().__init__()
        self.theta = nn.Conv2d(channels, inner, kernel_size=1, bias=False)
        self.phi = nn.Conv2d(gating, inner, kernel_size=1, bias=False)
        self.psi = nn.Conv2d(inner, 1, kernel_size=1)
        self.map = Share()

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """Pool a feature map (N, C, H, W), gated by a map (N, C', H', W'), to (N, C)."""
        seen = self.theta(x)
        gate = F.interpolate(self.phi(g), size=seen.shape[2:], mode="bilinear", align_corners=False)
        share = self.map(self.psi(F.relu(seen + gate)))
        return (share * x).flatten(2).sum(2)


class Share(nn.Module):
    """Normalises scores q to weights (q - min q) / Σ (q - min q), >= 0 with sum one.

    Schlemper et al. 2019 use it for classification, where a softmax makes the maps too sparse
    ("concatenation_mean_flow" in their code). It is a module, so that its output, the attention
    map, is a tap.
    """

    tiny = 1e-6
    """Added to each q - min q, so that a flat map gets equal weights without division by zero."""

    def forward(self, q: Tensor) -> Tensor:
        """Map scores (N, 1, H, W) to weights (N, 1, H, W)."""
        raised = q - torch.amin(q, dim=(2, 3), keepdim=True) + self.tiny
        return raised / raised.sum(dim=(2, 3), keepdim=True)
