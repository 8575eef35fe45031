"""Device, batch size, cache and progress of a cell."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.evaluation.batches.batches import Work, map_batches
from medrobust.evaluation.progress.progress import bar

if TYPE_CHECKING:
    from medrobust.evaluation.batches.shard import Shards

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Runner:
    """Device, batch size, cache and progress of a cell; none of them changes a result.

    Attributes:
        device: where to compute; holds victim and defense.
        batch_size: images at once.
        cache: where adversarial sets and answers are kept.
        shards: processes on several devices; None = `device` alone.
    """

    device: torch.device
    batch_size: int
    cache: TensorCache
    shards: "Shards | None" = None

    def map(
        self, work: Work, images: ImageSet, seeds: Tensor, *, advance: Advance = lambda _: None
    ) -> dict[str, Tensor]:
        """Do some work on every batch, on all devices; see `map_batches`.

        Args:
            work: gives a sample the same in any batch.
            images: set to work on.
            seeds: int64 (N,), one per image.
            advance: called with the number of images after each batch.
        """
        run = map_batches if self.shards is None else self.shards.map
        return run(
            work,
            images,
            seeds,
            batch_size=self.batch_size,
            device=self.device,
            advance=advance,
        )

    def here(self) -> "Runner":
        """Return the runner of this process's device alone, for work that is soon done."""
        return replace(self, shards=None)

    @contextmanager
    def progress(self, title: str, total: int, *, watch: nn.Module) -> Iterator[Advance]:
        """Show a progress bar; yields a function that takes the number of images done.

        Args:
            title: name of the work.
            total: images.
            watch: holds the victim whose passes are counted. Those in other processes are not:
                what travels there must not carry a bar's hooks.
        """
        with bar(title, total, watch=watch if self.shards is None else None) as advance:
            yield advance
