"""The best image of several attacks, judged on the system as deployed."""

import torch
from torch import Tensor

from medrobust.attack.core.goal import Goal
from medrobust.attack.core.query import CERTAIN
from medrobust.rng import fold_in
from medrobust.threat.surrogate import Surrogate


class Board:
    """Keeps, image by image, the candidate that fools the deployed system most.

    Candidates rank by (share of the draws that they fool, mean loss). Of a deterministic system
    there is one draw. Of a randomized one all candidates of an image meet the same draws, which are
    the attacker's own, and an image is settled only after `certain` further responses in a row: no
    lucky draw ends its attack. A vote has averaged its noise already and is asked less. On masks
    and boxes nothing is ever settled, since there more can always be lost.

    Args:
        deployed: answers; no gradients.
        x: clean images (N, C, H, W).
        goal: loss and criterion of the whole batch.
        seeds: int64 (N,).
        draws: responses per candidate of a randomized system.
        certain: further ones that must all be wrong before an image leaves.
        settles: whether an image that is fooled needs no further attack.
    """

    def __init__(
        self,
        deployed: Surrogate,
        x: Tensor,
        goal: Goal,
        seeds: Tensor,
        *,
        draws: int,
        certain: int = CERTAIN,
        settles: bool,
    ) -> None:
        self.deployed, self.goal, self.seeds = deployed, goal, seeds
        self.draws = draws if deployed.random else 1
        self.certain, self.settles = certain, settles
        self.image = x.clone()
        self.share = torch.full((len(x),), -1.0, dtype=torch.float64, device=x.device)
        self.loss = torch.full_like(self.share, -torch.inf)
        self.member = torch.full((len(x),), -1, dtype=torch.int64, device=x.device)
        self.settled = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    @property
    def standing(self) -> Tensor:
        """Images that are not settled, int64 (M,)."""
        return (~self.settled).nonzero().flatten()

    def offer(self, rows: Tensor, images: Tensor, member: int) -> None:
        """Judge one candidate each and keep it where it is better.

        Args:
            rows: int64 (M,), which images, without repetition.
            images: (M, C, H, W) candidates.
            member: number of the attack that made them.
        """
        if len(rows) == 0:
            return
        share, loss = self._ask(rows, images, 0, self.draws)
        old_share, old_loss = self.share[rows], self.loss[rows]
        better = (share > old_share) | ((share == old_share) & (loss > old_loss))
        self.image[rows] = images.where(better.view(-1, 1, 1, 1), self.image[rows])
        self.share[rows] = share.where(better, old_share)
        self.loss[rows] = loss.where(better, old_loss)
        self.member[rows] = torch.where(better, member, self.member[rows])
        if self.settles:
            sure = rows[better & (share == 1)]
            self.settled[sure] = self._certain(sure)

    def _certain(self, rows: Tensor) -> Tensor:
        """Return which of the kept images fool every one of `certain` further responses."""
        certain = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
        if not self.deployed.random:
            return certain
        asked, more = 0, 2  # in groups that double: who fails, fails early
        while asked < self.certain and certain.any():
            again = certain.nonzero().flatten()
            number = min(more, self.certain - asked)
            first = self.draws + asked
            share, _ = self._ask(rows[again], self.image[rows[again]], first, number)
            certain[again] = share == 1
            asked, more = asked + number, 2 * more
        return certain

    def _ask(self, rows: Tensor, images: Tensor, first: int, draws: int) -> tuple[Tensor, Tensor]:
        """Return the share of draws that are fooled and the mean loss, float64 (M,)."""
        goal = self.goal.at(rows)
        share = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
        total = torch.zeros_like(share)
        for draw in range(first, first + draws):
            noise = fold_in(self.seeds[rows], draw)
            loss, reached = self.deployed.value(images, goal, seeds=noise)
            share += reached.double() / draws
            total += loss.double() / draws
        # A sum of thirds need not be 1: shares are compared with it.
        return (share * draws).round() / draws, total
