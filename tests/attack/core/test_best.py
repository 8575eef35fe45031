import torch
from torch import Tensor

from medrobust.attack.core.best import Best


def plain(value: float) -> Tensor:
    return torch.full((3, 1, 2, 2), value)


def test_ranks_by_reached_then_loss_then_last() -> None:
    best = Best(plain(0.0))
    every = torch.arange(3)
    best.offer(every, plain(0.1), torch.tensor([5.0, 1.0, 2.0]), torch.tensor([False, True, False]))
    best.offer(every, plain(0.2), torch.tensor([1.0, 9.0, 2.0]), torch.tensor([True, False, False]))
    assert best.image[:, 0, 0, 0].tolist() == torch.tensor([0.2, 0.1, 0.2]).tolist()
    assert best.reached.tolist() == [True, True, False]
    assert best.loss.tolist() == [1.0, 1.0, 2.0]


def test_a_subset_leaves_the_others() -> None:
    best = Best(plain(0.0))
    rows = torch.tensor([2, 0])
    best.offer(rows, plain(0.3)[:2], torch.tensor([-torch.inf, 1.0]), torch.tensor([False, False]))
    assert best.image[:, 0, 0, 0].tolist() == torch.tensor([0.3, 0.0, 0.3]).tolist()


def test_undefined_loss_never_wins_and_is_remembered() -> None:
    best = Best(plain(0.0))
    every, no = torch.arange(3), torch.zeros(3, dtype=torch.bool)
    best.offer(every, plain(0.1), torch.tensor([1.0, torch.nan, 1.0]), no)
    assert best.image[:, 0, 0, 0].tolist() == torch.tensor([0.1, 0.0, 0.1]).tolist()
    assert best.undefined.tolist() == [False, True, False]
