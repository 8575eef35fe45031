"""Random resizing and padding."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.defense.core.base import Derivative, Purifier
from medrobust.defense.noise.resample import draw_whole, resample
from medrobust.model.core.victim import Victim
from medrobust.number import fraction, whole
from medrobust.prediction import Prediction
from medrobust.rng import fold_in, uniform


class RandomResizePad(Purifier):
    """Enlarges each image to a random size and pads it at a random place of a black canvas.

    Xie et al. 2018, "Mitigating Adversarial Effects Through Randomization", section 3.2: a 299 px
    image is resized to 299, ..., 330 px by nearest neighbour and padded with zeros to 331 px. Here
    these are shares of any size; height and width share a draw, which keeps the aspect ratio. The
    victim gets the larger canvas; for one that takes a single size, `smallest: 299/331` and
    `canvas: 1` shrink the image into its own size instead.

    Args:
        smallest: smallest size, as a share of the image's.
        canvas: size with padding, as a share of the image's; sizes are drawn below it.
        passes: number of random patterns whose probabilities are averaged; 1 in the paper's
            experiments, 30 in its authors' competition entry.
    """

    random = True
    moves_pixels = True

    def __init__(
        self, smallest: float | str = 1.0, canvas: float | str = "331/299", passes: int = 1
    ) -> None:
        super().__init__()
        self.canvas = fraction(canvas, "defense.canvas", high=8, above=True)
        self.smallest = fraction(smallest, "defense.smallest", high=self.canvas, above=True)
        self.passes = whole(passes, "defense.passes", low=1)

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Apply one pattern, (N, C, H, W) -> (N, C, canvas H, canvas W)."""
        draw = uniform(seeds, (3, 1)).unbind(1)  # draws of size, top and left
        places = []
        for side, corner in zip(x.shape[2:], draw[1:], strict=True):
            full = max(1, round(self.canvas * side))
            low = max(1, round(self.smallest * side))
            length = draw_whole(draw[0], low, max(low, full - 1))
            step = torch.arange(full, device=x.device) - draw_whole(corner, 0, full - length)
            inside = (step >= 0) & (step < length)
            # Two pixels outside is outside for the nearest neighbour under any rounding.
            places.append(torch.where(inside, step * side // length, -2))
        rows, columns = places
        return resample(x, rows[..., None], columns[:, None], mode="nearest", outside="zeros")

    def derivatives(self) -> dict[str, Derivative]:
        """Return `exact` alone: pixels move, so that there is no identity."""
        return {"exact": self.purify}

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Return the logits of one pattern, or the log mean probabilities of several."""
        first = self._look(x, victim, seeds, 0)
        if self.passes == 1:
            return Prediction(first)
        mass = first.log_softmax(1)  # in logarithms, which do not saturate
        for number in range(1, self.passes):
            mass = mass.logaddexp(self._look(x, victim, seeds, number).log_softmax(1))
        return Prediction(mass - math.log(self.passes))

    def proxy(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Return the logits of one pattern, differentiable; the threat averages patterns (EOT)."""
        return Prediction(self._look(x, victim, seeds, 0))

    def view(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the first pattern, at the size of `x`."""
        return F.interpolate(self.purify(x, seeds=fold_in(seeds, 0)), x.shape[2:], mode="area")

    def _look(self, x: Tensor, victim: Victim, seeds: Tensor, number: int) -> Tensor:
        logits: Tensor = victim(self.purify(x, seeds=fold_in(seeds, number)))
        if logits.ndim != 2:
            raise ValueError(
                "defense=random_resize_pad moves the pixels, so a mask would not fit its image; "
                "it takes classifiers only"
            )
        return logits
