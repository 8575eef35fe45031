"""Sequential voting with early stopping per image."""

from collections.abc import Callable

import torch
from torch import Tensor

from medrobust.defense.core.base import Smoother
from medrobust.model.core.victim import Victim

_FIRST = 32
_FULL_ON_CPU = 64
"""Batch size beyond which a CPU is no faster per copy; other devices take whole chunks."""


def interim_looks(n: int) -> list[int]:
    """Return the numbers of copies after which votes are tested: 32, a quarter more, …, n."""
    found, at = [], _FIRST
    while at < n:
        found.append(at)
        at += at // 4
    return [*found, n]


def count_until_decided(
    smoother: Smoother,
    x: Tensor,
    victim: Victim,
    *,
    seeds: Tensor,
    decided: Callable[[Tensor], Tensor],
) -> Tensor:
    """Count votes up to the test that decides an image, or of all `copies`.

    Copies are in the order of `Smoother.count`, and an image's tests do not depend on its batch:
    its counts are a prefix of the fixed vote's. While few images are left, copies of later tests
    are drawn ahead, so that the victim's batches stay full; those past an image's stop are not
    counted.

    Args:
        smoother: draws copies.
        x: images (N, C, H, W) in [0, 1].
        victim: frozen classifier.
        seeds: int64 (N,).
        decided: votes (M, K) -> bool (M,); must be anytime-valid.

    Returns:
        int64 (N, K); the row sums are the numbers of copies used.
    """
    full = min(smoother.chunk, _FULL_ON_CPU) if x.device.type == "cpu" else smoother.chunk
    counts = torch.empty(0)
    left = torch.arange(len(x), device=x.device)
    drawn, coming = 0, interim_looks(smoother.copies)
    while coming and len(left):
        ahead = 1
        while ahead < len(coming) and len(left) * (coming[ahead - 1] - drawn) < full:
            ahead += 1
        last = coming[ahead - 1]
        parts = [
            (logits.argmax(1), logits.shape[1])
            for _, logits in smoother.ballots(
                x[left], victim, seeds=seeds[left], first=drawn, last=last
            )
        ]
        labels = torch.cat([label for label, _ in parts]).view(len(left), last - drawn)
        if not len(counts):
            counts = torch.zeros(len(x), parts[0][1], dtype=torch.int64, device=x.device)
        start, going = drawn, torch.ones_like(left, dtype=torch.bool)
        for look in coming[:ahead]:
            votes = labels[:, start - drawn : look - drawn]
            new = torch.zeros_like(counts[left]).scatter_add_(1, votes, torch.ones_like(votes))
            counts[left] += new * going[:, None]
            start = look
            if look < smoother.copies:
                going &= ~decided(counts[left])
        left, drawn, coming = left[going], last, coming[ahead:]
    return counts
