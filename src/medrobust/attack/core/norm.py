"""Norms that budgets are measured in."""

import torch
from torch import Tensor


def distance(x: Tensor, other: Tensor, norm: str) -> Tensor:
    """Distance per image (N,), `linf` or `l2`, in float64."""
    order = {"linf": torch.inf, "l2": 2.0}[norm]
    return torch.linalg.vector_norm((other.double() - x.double()).flatten(1), ord=order, dim=1)


def known_norm(norm: str) -> str:
    """`norm`, if distances are measured in it.

    Raises:
        ValueError: they are not.
    """
    if norm not in ("linf", "l2"):
        raise ValueError(f"attack.norm={norm!r}, expected linf or l2")
    return norm
