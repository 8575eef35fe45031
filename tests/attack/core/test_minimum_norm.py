"""The frame of minimum-norm attacks: the nearest image, or the clean one."""

import torch
from torch import Tensor

from medrobust.attack.core.closest import Closest
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.minimum_norm import MinimumNorm, within
from medrobust.attack.core.norm import distance
from medrobust.threat.surrogate import Surrogate, VictimSurrogate


class Halfway(MinimumNorm):
    """Offers the mean of the image and grey, reached or not."""

    norm = "l2"

    def search(
        self, surrogate: Surrogate, goal: Goal, closest: Closest, rows: Tensor, seeds: Tensor
    ) -> None:
        image = (closest.x[rows] + 0.5) / 2
        _, reached = surrogate.value(image, goal.at(rows), seeds=seeds[rows])
        closest.offer(rows, image, reached)


def test_minimum_norm_returns_the_nearest_or_the_clean_image(
    surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor
) -> None:
    found = Halfway(None)(surrogate, images, labels, seeds=seeds)
    wrong = surrogate.victim(images).argmax(1) != labels
    half = surrogate.victim((images + 0.5) / 2).argmax(1) != labels
    moved = (found != images).flatten(1).any(1)
    assert torch.equal(moved, half & ~wrong)
    assert moved.any()
    short = Halfway(0.5)(surrogate, images, labels, seeds=seeds)
    torch.testing.assert_close(
        distance(images, short, "l2"),
        distance(images, found, "l2").clamp(max=0.5),
        rtol=1e-5,  # pixels are rounded toward the clean image
        atol=0,
    )
    assert distance(images, short, "l2").max() <= 0.5


def test_pulled_back_along_the_line() -> None:
    x, image = torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[0.9, 0.7]]]])
    torch.testing.assert_close(within(x, image, "linf", 0.1), torch.tensor([[[[0.6, 0.55]]]]))
    assert torch.equal(within(x, image, "linf", 0.5), image)
