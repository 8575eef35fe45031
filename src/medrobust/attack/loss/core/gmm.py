"""A mixture of Gaussians with diagonal covariances, fitted by expectation maximisation."""

import math
from typing import NamedTuple, Self

import torch
from torch import Tensor

from medrobust.rng import uniform


class Mixture(NamedTuple):
    """M components over D numbers; leading dimensions (...) hold several mixtures.

    Attributes:
        log_weight: (..., M).
        mean: (..., M, D).
        variance: (..., M, D).
    """

    log_weight: Tensor
    mean: Tensor
    variance: Tensor

    def log_joint(self, features: Tensor) -> Tensor:
        """Log of each component's weight times its density at (..., N, D): (..., N, M)."""
        square = (features.unsqueeze(-2) - self.mean.unsqueeze(-3)).square()
        mahalanobis = (square / self.variance.unsqueeze(-3)).sum(-1)
        volume = (self.variance.log() + math.log(2 * math.pi)).sum(-1)
        return self.log_weight.unsqueeze(-2) - 0.5 * (mahalanobis + volume.unsqueeze(-2))

    def at(self, index: Tensor) -> Self:
        """Some of several mixtures."""
        return type(self)(*(part[index] for part in self))


def fit(
    features: Tensor,
    components: int,
    *,
    floor: float,
    seed: int = 0,
    steps: int = 100,
    tolerance: float = 1e-3,
) -> Mixture:
    """Fit a mixture from a k-means++ start (Arthur & Vassilvitskii 2007).

    Args:
        features: (N, D).
        components: M, 1 to N.
        floor: added to every variance, > 0, so that constant features have a density.
        seed: of the start.
        steps: most rounds of expectation and maximisation.
        tolerance: stop when the mean log-likelihood gains less than this.

    Returns:
        float64.

    Raises:
        ValueError: fewer features than components.
    """
    if not 1 <= components <= len(features):
        raise ValueError(f"{components} components for {len(features)} samples")
    features = features.double()
    centres = _spread(features, components, seed)
    nearest = torch.cdist(features, centres).argmin(dim=1)
    share = torch.nn.functional.one_hot(nearest, components).double()
    before = -math.inf
    for _ in range(steps):
        mixture = _maximise(features, share, floor)
        joint = mixture.log_joint(features)
        likelihood = float(joint.logsumexp(dim=1).mean())
        if likelihood - before < tolerance:
            break
        before, share = likelihood, joint.softmax(dim=1)
    return mixture


def _maximise(features: Tensor, share: Tensor, floor: float) -> Mixture:
    """Parameters from each sample's share in each component (N, M)."""
    mass = share.sum(0) + 10 * torch.finfo(share.dtype).eps  # an empty component stays finite
    part = (share / mass).T
    mean = part @ features
    # About the mean, not E[f²] - mean²: features far from zero would cancel.
    square = (features - mean.unsqueeze(1)).square()
    variance = torch.einsum("mn,mnd->md", part, square) + floor
    return Mixture((mass / mass.sum()).log(), mean, variance)


def _spread(features: Tensor, count: int, seed: int) -> Tensor:
    """Samples drawn one by one, each in proportion to its squared distance from those before."""
    draws = uniform(torch.tensor([seed]), (count,))[0].to(features)
    distance = torch.ones_like(features[:, 0])
    chosen: list[Tensor] = []
    for draw in draws:
        reach = distance.cumsum(0)
        place = torch.searchsorted(reach, draw * reach[-1], right=True).clamp(max=len(reach) - 1)
        chosen.append(features[place])
        new = (features - chosen[-1]).square().sum(1)
        distance = new if len(chosen) == 1 else torch.minimum(distance, new)
    return torch.stack(chosen)
