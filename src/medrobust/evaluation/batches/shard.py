"""The images of a cell shared out among devices: a process for each, kept from cell to cell.

Lightning Fabric starts the processes (DDP, spawned). Its plain `ddp` launcher would run the script
again with its arguments, which in a sweep is the sweep itself; a forked process cannot use a GPU.
Images are independent, so the processes exchange nothing: each answers this one through a pipe,
and none ever waits for another. Only this process writes.
"""

import atexit
import logging
import os
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from threading import Thread
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor

from medrobust.data.core.image_set import ImageSet
from medrobust.evaluation.batches.batches import Work
from medrobust.evaluation.batches.worker import STOP, RemoteError, packed, serve, unpacked


class ShardError(RuntimeError):
    """The process of a device is gone."""


class Shards:
    """Processes on several devices, started when first needed.

    Args:
        accelerator: Fabric's word for it.
        devices: how many, at least 2.
    """

    def __init__(self, accelerator: str, devices: int) -> None:
        self.accelerator, self.devices = accelerator, devices
        self._ends: list[Connection] = []
        self._thread: Thread | None = None
        self._why: BaseException | None = None

    def map(
        self,
        work: Work,
        images: ImageSet,
        seeds: Tensor,
        *,
        batch_size: int,
        device: torch.device,
        advance: Callable[[int], None] = lambda _: None,
    ) -> dict[str, Tensor]:
        """Do some work on every batch, on all devices at once; see `map_batches`.

        Args:
            work: can be pickled; its tensors go to each device.
            images: what to work on.
            seeds: int64 (N,), one per image.
            batch_size: images at once on each device.
            device: not used; each process has its own.
            advance: told the number of images after each batch.

        Raises:
            ShardError: a process was killed.
            Exception: what the work raised on the first device that failed.
        """
        content = packed(work)
        try:
            self._start()
            for end, part in zip(self._ends, shares(len(images), self.devices), strict=True):
                some = images.images[part].clone(), images.labels[part].clone(), images.ids[part]
                end.send_bytes(content)
                end.send_bytes(packed((*some, seeds[part].clone(), part.start, batch_size)))
            answers = self._answers(advance)
        except BaseException:  # the processes may be anywhere in their share
            self.close()
            raise
        failed = [content for kind, content in answers if kind == "failed"]
        if failed:
            error, trace = failed[0]
            raise error from RemoteError(f"\n{trace}")
        found = [unpacked(content, torch.device("cpu")) for _, content in answers]
        names = dict.fromkeys(name for part in found for name in part)
        return {name: torch.cat([part[name] for part in found if name in part]) for name in names}

    def _answers(self, advance: Callable[[int], None]) -> list[tuple[str, Any]]:
        """The last word of every process, in the order of the images."""
        last: dict[int, tuple[str, Any]] = {}
        while len(last) < self.devices:
            for rank, (kind, content) in self._messages():
                if kind == "advance":
                    advance(content)
                elif kind == "log":
                    logging.getLogger(content.name).handle(content)
                else:
                    last[rank] = kind, content
                if kind == "failed":
                    for other, end in enumerate(self._ends):
                        if other not in last:
                            end.send_bytes(STOP)
        return [last[rank] for rank in range(self.devices)]

    def _messages(self) -> list[tuple[int, tuple[str, Any]]]:
        """Return the messages that have come; wait for one.

        Raises:
            ShardError: a process has ended.
        """
        assert self._thread is not None
        while True:
            alive = self._thread.is_alive()
            ready = wait(self._ends, timeout=0.5)
            if ready:
                return [(n, end.recv()) for n, end in enumerate(self._ends) if end in ready]
            if not alive:
                raise ShardError(
                    f"one of the {self.devices} processes of this cell has ended: {self._why}; "
                    "if it was killed, the machine may be out of memory: set a smaller batch_size, "
                    "or trainer.devices=1"
                )

    def _start(self) -> None:
        if self._thread is not None:
            return
        context = get_context("spawn")
        pipes = [context.Pipe() for _ in range(self.devices)]
        self._ends = [here for here, _ in pipes]
        there = [end for _, end in pipes]
        fabric = fabric_for(self.accelerator, self.devices)
        # Fabric's launch returns when the processes have ended. The thread must live as long as
        # they do: the system signals them when the thread that started them ends.
        self._thread = Thread(target=self._launch, args=(fabric, there), daemon=True)
        self._thread.start()
        atexit.register(self.close)
        ready = 0
        while ready < self.devices:
            ready += sum(kind == "ready" for _, (kind, _) in self._messages())
        os.environ.pop("MASTER_PORT", None)  # Fabric's; the next processes get a free one too

    def _launch(self, fabric: Fabric, ends: list[Connection]) -> None:
        try:
            fabric.launch(partial(serve, ends=ends))
        except BaseException as error:  # whatever it is, `_messages` reports it
            self._why = error

    def close(self) -> None:
        """End the processes; the next run starts new ones."""
        atexit.unregister(self.close)
        thread, self._thread = self._thread, None
        for end in self._ends:
            end.close()  # a process that reads or writes finds out and ends
        self._ends = []
        if thread is not None:
            thread.join(timeout=10)


def shares(total: int, count: int) -> list[slice]:
    """`total` images cut into `count` runs of nearly equal length."""
    edges = [total * place // count for place in range(count + 1)]
    return [slice(low, high) for low, high in pairwise(edges)]


def fabric_for(accelerator: str, devices: int | str) -> Fabric:
    """A Fabric that can start a process per device of this machine, and knows how many there are.

    Args:
        accelerator: `cpu`, `gpu`, `auto`, …
        devices: how many, or `auto`: all GPUs, but one process on a CPU.
    """
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        strategy=DDPStrategy(start_method="spawn"),
        plugins=[LightningEnvironment()],  # this machine's, also inside a Slurm job
    )


@lru_cache(maxsize=1)
def shards_of(accelerator: str, devices: int | str) -> Shards | None:
    """The processes for these devices, or None for one device, which needs none."""
    strategy = fabric_for(accelerator, devices).strategy
    assert isinstance(strategy, DDPStrategy)
    return Shards(accelerator, strategy.num_processes) if strategy.num_processes > 1 else None
