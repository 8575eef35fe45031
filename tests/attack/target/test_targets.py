import pytest
import torch

from medrobust.attack.core.target import Target
from medrobust.attack.target.fixed_class import FixedClass
from medrobust.attack.target.least_likely import LeastLikely
from medrobust.attack.target.most_likely import MostLikely
from medrobust.attack.target.next_class import NextClass
from medrobust.attack.target.random_class import RandomClass

LOGITS = torch.tensor([[5.0, 1.0, 3.0], [2.0, 9.0, -1.0]])
Y = torch.tensor([0, 2])
SEEDS = torch.arange(2)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (NextClass(), [1, 0]),
        (LeastLikely(), [1, 0]),
        (MostLikely(), [2, 1]),
        (FixedClass(1), [1, 1]),
    ],
)
def test_by_hand(rule: Target, expected: list[int]) -> None:
    assert rule(LOGITS, Y, SEEDS).tolist() == expected


def test_least_likely_is_never_the_label() -> None:
    logits = torch.tensor([[0.0, 5.0, 9.0]])
    assert LeastLikely()(logits, torch.tensor([0]), SEEDS[:1]).tolist() == [1]


@pytest.mark.parametrize("rule", [NextClass(), LeastLikely(), MostLikely(), RandomClass()])
@pytest.mark.parametrize("shape", [(), (4, 5)])
def test_masks_and_two_classes(rule: Target, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (6, *shape), generator=generator)
    found = rule(torch.randn(6, 2, *shape, generator=generator), y, torch.arange(6))
    assert torch.equal(found, 1 - y)


def test_random_class_is_uniform_over_the_others() -> None:
    y = torch.full((9000,), 1)
    found = RandomClass()(torch.zeros(9000, 4), y, torch.arange(9000))
    counts = torch.bincount(found, minlength=4)
    assert counts[1] == 0
    assert (counts[[0, 2, 3]] - 3000).abs().max() < 4 * 45  # four standard deviations


def test_fixed_class_outside_the_classes() -> None:
    with pytest.raises(ValueError, match=r"attack\.target\.label=-1"):
        FixedClass(-1)
    with pytest.raises(ValueError, match="classes 0 to 2"):
        FixedClass(3)(LOGITS, Y, SEEDS)
