"""Exact margins of linear scores over boxes, in float64."""

import torch
from torch import Tensor


def box(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the ends (N, P) of the ball around images (N, C, H, W), inside [0, 1]."""
    flat = x.flatten(1).double()
    return (flat - eps).clamp(min=0), (flat + eps).clamp(max=1)


def least_lead(weight: Tensor, bias: Tensor, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
    """Return the smallest lead (N,) of the true class over the others in a box.

    Each input moves on its own between its two ends, so that the minimum is a sum over inputs.

    Args:
        weight: (K, P) of the linear layer.
        bias: (K,).
        low: (N, P).
        high: (N, P).
        y: true classes (N,).
    """
    weight, bias = weight.double(), bias.double()
    leads = []
    for other in range(len(weight)):
        apart = weight[y] - weight[other]
        lead = (apart * torch.where(apart > 0, low, high)).sum(1) + bias[y] - bias[other]
        leads.append(lead.masked_fill(y == other, torch.inf))
    return torch.stack(leads).amin(0)


def two_rows(layer_weight: Tensor, layer_bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return weight and bias of both classes for a single logit, that of the second class."""
    weight = torch.cat([torch.zeros_like(layer_weight), layer_weight])
    return weight, torch.cat([torch.zeros_like(layer_bias), layer_bias])


def best_of_two(first: Tensor, second: Tensor, a: Tensor, b: Tensor, eps: float) -> Tensor:
    """Return max over |d| <= eps of min(a + first.d, b + second.d), for each image.

    By duality it is the minimum over w in [0, 1] of w a + (1 - w) b + eps |w first + (1 - w)
    second|_1, convex and piecewise linear, so that one of the breakpoints attains it.

    Args:
        first: gradient (N, P) of one margin.
        second: gradient (N, P) of the other.
        a: value (N,) of the first at the clean image.
        b: value (N,) of the second.
        eps: radius of a ball that touches neither black nor white.
    """
    first, second, a, b = first.double(), second.double(), a.double(), b.double()
    bends = (second / (second - first)).nan_to_num(0.0, 0.0, 0.0).clamp(0, 1)
    weights = torch.cat([torch.zeros(len(a), 1), torch.ones(len(a), 1), bends], dim=1).double()
    found = torch.full_like(a, torch.inf)
    for weight in weights.unbind(1):
        share = weight[:, None]
        slope = (share * first + (1 - share) * second).abs().sum(1)
        found = found.minimum(weight * a + (1 - weight) * b + eps * slope)
    return found


def least_within(
    score: Tensor, bound: Tensor, a: Tensor, b: Tensor, limit: float, eps: float
) -> Tensor:
    """Return min over |d| <= eps of a + score.d where |b + bound.d| <= limit, for each image.

    The dual has one multiplier t: a + t b - limit |t| - eps |score + t bound|_1, concave and
    piecewise linear, so that one of the breakpoints attains its maximum.

    Args:
        score: gradient (N, P) of the margin.
        bound: gradient (N, P) of what must stay within the limit.
        a: value (N,) of the margin at the clean image.
        b: value (N,) of the other; the clean image is within the limit.
        limit: largest absolute value allowed.
        eps: radius of a ball that touches neither black nor white.
    """
    score, bound, a, b = score.double(), bound.double(), a.double(), b.double()
    bends = (-score / bound).nan_to_num(0.0, 0.0, 0.0)
    found = a - eps * score.abs().sum(1)
    for weight in bends.unbind(1):
        slope = (score + weight[:, None] * bound).abs().sum(1)
        found = found.maximum(a + weight * b - limit * weight.abs() - eps * slope)
    return found
