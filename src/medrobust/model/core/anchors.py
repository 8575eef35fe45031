"""Anchors of a dense detector, and the conversion of its output to a prediction."""

from collections.abc import Sequence

import torch
from torch import Tensor

from medrobust.box.anchored import Anchored
from medrobust.prediction import Prediction

SCALES = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
RATIOS = (0.5, 1.0, 2.0)
PER_CELL = len(SCALES) * len(RATIOS)


class Anchors:
    """Nine anchors per cell of every level: three sizes, three aspect ratios (Lin et al. 2017).

    Args:
        strides: strides of the levels in pixels, each twice the previous one.
        smallest_px: side of the smallest square anchor of the first level; it doubles with each.
    """

    def __init__(self, strides: Sequence[int], smallest_px: float) -> None:
        self.strides, self.smallest_px = tuple(strides), smallest_px
        sizes = [[smallest_px * 2**level * s for s in SCALES] for level in range(len(strides))]
        # Whole pixels, as in torchvision's own RetinaNet.
        from torchvision.models.detection.anchor_utils import AnchorGenerator  # heavy

        self._generator = AnchorGenerator(
            tuple(tuple(int(side) for side in level) for level in sizes), (RATIOS,) * len(strides)
        )
        self._known: dict[tuple[int, int], Tensor] = {}

    def on(self, canvas: tuple[int, int]) -> Tensor:
        """Return the anchors of an image, (A, 4): left, top, right, bottom in pixels, on the host.

        Args:
            canvas: height and width in pixels.
        """
        if canvas not in self._known:
            grids = [[-(-side // stride) for side in canvas] for stride in self.strides]
            steps = [
                [torch.tensor(side // cells) for side, cells in zip(canvas, grid, strict=True)]
                for grid in grids
            ]
            with torch.inference_mode(False):
                self._known[canvas] = torch.cat(self._generator.grid_anchors(grids, steps))
        return self._known[canvas]

    def read(self, output: Tensor, x: Tensor) -> Prediction:
        """Convert a network's output (N, K + 4, A) for images `x` to a prediction.

        Raises:
            ValueError: the output has another number of anchors.
        """
        canvas = (x.shape[2], x.shape[3])
        anchors = self.on(canvas).to(output)
        if output.shape[2] != len(anchors):
            raise ValueError(
                f"the detector answers {output.shape[2]} anchors of an image of {canvas[0]}x"
                f"{canvas[1]} pixels, expected {len(anchors)}; set data.size to a multiple of "
                f"{self.strides[-1]}"
            )
        boxes = Anchored(output[:, -4:].transpose(1, 2), anchors, canvas)
        return Prediction(output[:, :-4], anchored=boxes)
