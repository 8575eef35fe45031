"""The nearest point of a hyperplane inside the box [0, 1], in L∞ or L2, exactly and batched.

Croce and Hein 2020, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary
Attack": minimise ||z - x||_p subject to <w, z> = b and 0 <= z <= 1.

In both norms the solution moves every number against the excess <w, x> - b until it meets its
wall of the box: by t in L∞, by t * |w_i| in L2. So what a "time" t removes of the excess is the
concave, piecewise linear function sum_i rate_i * min(t, full_i), like vessels that fill. Newton's
method from t = 0 finds the t that removes all of it: it never oversteps and stops at the exact
solution, after three to six passes over the numbers, where sorting them costs five times as much.
"""

import torch
from torch import Tensor

DUAL = {"linf": 1.0, "l2": 2.0}
"""Order of the norm in which a gradient's length counts, by the norm of the perturbation."""


def displacement(point: Tensor, normal: Tensor, excess: Tensor, norm: str) -> Tensor:
    """Shortest way from points of the box to a hyperplane, staying in the box.

    Where the hyperplane misses the box, the way leads to the corner nearest to it.

    Args:
        point: x (N, D), in [0, 1].
        normal: w (N, D), of any length; zero gives a zero displacement.
        excess: <w, x> - b, (N,).
        norm: `linf` or `l2`.

    Returns:
        z - x, (N, D), in the dtype of `point`; NaN where `normal` or `excess` is not finite.

    Raises:
        ValueError: an unknown norm.
    """
    if norm not in DUAL:
        raise ValueError(f"norm={norm!r}, expected linf or l2")
    # Length one in L∞, so that neither squares nor quotients leave the range of the dtype.
    scale = normal.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(normal.dtype).tiny)
    weight = (normal / scale).to(point.dtype)
    direction = -weight.sign() * excess.sign()[:, None].to(point.dtype)
    room = torch.where(direction > 0, 1 - point, point)
    weight = weight.abs()
    speed = weight if norm == "l2" else weight.sign()
    time = _filling_time(weight * speed, weight * room, room / speed, excess / scale[:, 0])
    way = direction * torch.minimum(time.to(point.dtype) * speed, room)
    return way.where(normal.isfinite() & excess.isfinite()[:, None], torch.nan)


def _filling_time(rate: Tensor, capacity: Tensor, full: Tensor, wanted: Tensor) -> Tensor:
    """The time at which vessels that fill at given rates hold `wanted` together.

    Args:
        rate: (N, D) >= 0.
        capacity: (N, D) >= 0; of a vessel that never fills 0.
        full: (N, D), the time at which each is full; of a vessel that never fills anything.
        wanted: (N,), its size counts.

    Returns:
        (N, 1) float64; the time when all are full where `wanted` is more than that.
    """
    fills = rate > 0
    wanted = wanted.abs().double()[:, None]
    enough = capacity.sum(dim=1, keepdim=True, dtype=torch.float64) > wanted
    time = full.where(fills & ~enough, 0).amax(dim=1, keepdim=True).double()
    while True:
        filling = fills & (full > time.to(full.dtype))
        speed = rate.where(filling, 0).sum(dim=1, keepdim=True, dtype=torch.float64)
        held = capacity.where(~filling, 0).sum(dim=1, keepdim=True, dtype=torch.float64)
        later = ((wanted - held) / speed).where(enough & (speed > 0), time)
        # The same vessels give the same time: an image that has arrived moves no more, and each
        # move closes a vessel, so that all arrive.
        if not (later > time).any():
            return time
        time = later.maximum(time)
