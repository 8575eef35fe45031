"""The nearest point of a hyperplane inside the box [0, 1], in L∞ or L2, exactly and batched.

Croce and Hein 2020, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary
Attack", eq. 4: minimise ||z - x||_p subject to <w, z> = b and 0 <= z <= 1.

In both norms the solution moves every number against the excess <w, x> - b until it meets its
wall of the box: by t in L∞, by t * |w_i| in L2. So the excess that a "time" t removes is the
piecewise linear function sum_i rate_i * min(t, wall_i), and one sort finds the t that removes all.
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
        z - x, (N, D), in the dtype of `point`.
    """
    # Length one in L∞, so that neither squares nor quotients leave the range of the dtype.
    scale = normal.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(normal.dtype).tiny)
    normal = (normal / scale).to(point.dtype)
    weight = normal.abs()
    direction = -excess.sign()[:, None] * normal.sign()  # of each number
    room = torch.where(direction > 0, 1 - point, point)
    if norm == "linf":
        speed = torch.ones_like(weight)
    elif norm == "l2":
        speed = weight
    else:
        raise ValueError(f"norm={norm!r}, expected linf or l2")
    # A weight below rounding removes nothing: it is at its wall from the start.
    counts = weight > torch.finfo(point.dtype).eps ** 2
    wall = (room / speed).where(counts, 0)
    time = _filling_time(
        weight * speed * counts, weight * room * counts, wall, excess / scale[:, 0]
    )
    return direction * torch.minimum(time.to(point.dtype) * speed, room) * counts


def _filling_time(rate: Tensor, capacity: Tensor, full_at: Tensor, wanted: Tensor) -> Tensor:
    """The time at which vessels that fill at given rates hold `wanted` together.

    Args:
        rate: (N, D) >= 0.
        capacity: (N, D), rate * full_at.
        full_at: (N, D), the time at which each vessel is full.
        wanted: (N,), its size counts; more than all capacity gives the time when all are full.

    Returns:
        (N, 1) float64.
    """
    full_at, order = full_at.sort(dim=1)
    capacity = capacity.gather(1, order).cumsum(dim=1, dtype=torch.float64)
    rate = rate.gather(1, order).flip(1).cumsum(dim=1, dtype=torch.float64).flip(1)
    full_at = full_at.double()
    before = torch.nn.functional.pad(capacity[:, :-1], (1, 0))  # in the vessels that are full
    wanted = wanted.abs().double()[:, None]
    # rate holds, at each vessel's end, the rates of itself and all later ones.
    index = (before + full_at * rate < wanted).sum(dim=1, keepdim=True)
    last = full_at.shape[1] - 1
    feasible, index = index <= last, index.clamp(max=last)
    rate = rate.gather(1, index)
    time = (wanted - before.gather(1, index)) / rate.clamp(min=torch.finfo(torch.float64).tiny)
    return time.where(feasible, full_at[:, -1:])
