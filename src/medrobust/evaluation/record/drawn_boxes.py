"""Boxes drawn into the pictures of a detector's cell."""

from typing import Final

import torch
from torch import Tensor
from torchvision.utils import draw_bounding_boxes

from medrobust.box.keep import SHOWN
from medrobust.box.matching import iou
from medrobust.metric.boxes import FOUND
from medrobust.prediction import Answers

TRUE: Final = "white"
RIGHT: Final = (0, 200, 255)  # of the right class, on a true box
WRONG: Final = (255, 140, 0)


def with_boxes(images: Tensor, labels: Tensor, answers: Answers, places: Tensor) -> Tensor:
    """Images with their true boxes and the answers that a person is shown.

    True boxes are white and thin; answers are blue where they find a true box of their class, else
    orange.

    Args:
        images: (n, C, H, W) in [0, 1].
        labels: true boxes (n, M, 5).
        answers: of a whole set.
        places: int64 (n,), where the images are in it.

    Returns:
        (n, 3, H, W) in [0, 1].
    """
    assert answers.boxes is not None
    assert answers.box_logit is not None
    thin = max(1, images.shape[2] // 128)
    drawn = []
    for image, y, place in zip(images, labels, places.tolist(), strict=True):
        shown = answers.box_logit[place].sigmoid() >= SHOWN
        boxes, label = answers.boxes[place, shown], answers.label[place, shown]
        real = y[y[:, 0] >= 0]
        meets = iou(boxes, real[:, 1:]) >= FOUND
        right = (meets & (label[:, None] == real[:, 0].long())).any(1)
        colours = [RIGHT if hit else WRONG for hit in right.tolist()]
        canvas = (image.expand(3, -1, -1).clamp(0, 1) * 255).round().to(torch.uint8)
        for some, colour, width in ((boxes, colours, 2 * thin), (real[:, 1:], TRUE, thin)):
            if len(some):
                canvas = draw_bounding_boxes(canvas, _proper(some), colors=colour, width=width)
        drawn.append(canvas.float() / 255)
    return torch.stack(drawn)


def _proper(boxes: Tensor) -> Tensor:
    """Put corners in order, which rounding may have swapped."""
    return torch.cat([boxes[:, :2], boxes[:, 2:].maximum(boxes[:, :2])], dim=1)
