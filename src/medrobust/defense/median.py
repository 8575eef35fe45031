"""Median filter."""

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.defense.core.base import Derivative, Purifier, unchanged
from medrobust.number import whole


class Median(Purifier):
    """Median over a square window, per channel, with mirrored edges (Xu, Evans and Qi 2018).

    Args:
        window: side in pixels, odd, at least 3.
    """

    def __init__(self, window: int = 3) -> None:
        super().__init__()
        self.window = whole(window, "defense.window", low=3)
        if window % 2 == 0:
            raise ValueError(f"defense.window={window} is even; expected an odd side in pixels")

    def derivatives(self) -> dict[str, Derivative]:
        """Return `soft`, see `softened`, `exact` and `identity`."""
        return {"soft": self.softened, "exact": self.purify, "identity": unchanged}

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Filter images (N, C, H, W), mirrored at the edge without repeating the edge pixel."""
        padded = self._padded(x)
        if self.window == 3:
            return _median_of_nine(padded)
        return self._windows(padded).median(dim=4).values

    def softened(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Average the values around the median, weighted by their distance in ranks.

        The median's own derivative sees one value of the window, which is another one as soon as
        the attack moves them; this one sees all that may become the median.
        """
        ordered = self._windows(self._padded(x)).sort(dim=4).values
        return (ordered * rank_weights(self.window**2).to(x)).sum(4)

    def _windows(self, padded: Tensor) -> Tensor:
        """Return the values (N, C, H, W, window²) of each pixel's window."""
        return padded.unfold(2, self.window, 1).unfold(3, self.window, 1).flatten(4)

    def _padded(self, x: Tensor) -> Tensor:
        half = self.window // 2
        if min(x.shape[2:]) <= half:
            raise ValueError(
                f"defense.window={self.window} does not fit images of {tuple(x.shape[2:])} pixels"
            )
        return F.pad(x, (half, half, half, half), mode="reflect")


def rank_weights(count: int) -> Tensor:
    """Return Gaussian weights (count,) of ranks around the middle one, in float64, with sum 1.

    Their standard deviation is a ninth of the ranks: one rank of a window of 3×3 values.
    """
    distance = (torch.arange(count, dtype=torch.float64) - (count - 1) / 2) * (9 / count)
    return torch.softmax(-distance.square() / 2, dim=0)


def _median_of_nine(padded: Tensor) -> Tensor:
    """Compute 3×3 medians of (N, C, H + 2, W + 2), as (N, C, H, W), differentiably.

    Each column of three is sorted once for the three windows that contain it; the median of nine is
    the median of the largest low, the middle mid and the smallest high (Smith 1996), in 18 minima
    and maxima of the whole batch. They run over flat memory, where a neighbour is an offset;
    windows that straddle two rows are computed too, and dropped.
    """
    height, width = padded.shape[2:]
    flat = padded.reshape(-1)
    low, mid, high = _sort(*(flat[i * width : flat.numel() - (2 - i) * width] for i in range(3)))
    largest = torch.maximum(torch.maximum(low[:-2], low[1:-1]), low[2:])
    smallest = torch.minimum(torch.minimum(high[:-2], high[1:-1]), high[2:])
    middle = _middle(mid[:-2], mid[1:-1], mid[2:])
    found = F.pad(_middle(largest, middle, smallest), (0, 2 * width + 2))
    return found.view(padded.shape)[:, :, : height - 2, : width - 2]


def _sort(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the elementwise smallest, middle and largest of three tensors."""
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    rest = torch.minimum(high, c)
    return torch.minimum(low, rest), torch.maximum(low, rest), torch.maximum(high, c)


def _middle(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return the elementwise median of three tensors."""
    return torch.maximum(torch.minimum(a, b), torch.minimum(torch.maximum(a, b), c))
