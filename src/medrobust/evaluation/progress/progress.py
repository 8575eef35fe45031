"""A progress bar for a person at a terminal, and nothing for a log file."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing import current_process

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from medrobust.model.core.victim import Victim


def wanted() -> bool:
    """Return whether to draw: there is a terminal, and no other process draws on it too."""
    return sys.stderr.isatty() and current_process().name == "MainProcess"


@contextmanager
def bar(
    title: str, total: int, *, watch: nn.Module | None = None
) -> Iterator[Callable[[int], None]]:
    """Yields a function that is told how many images are done.

    Args:
        title: what is going on.
        total: images.
        watch: holds the victim whose passes are counted, since a long attack ends no image for
            minutes.
    """
    if not wanted():
        yield lambda _: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TimeRemainingColumn(),
        TextColumn("{task.fields[passes]}"),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task(title, total=total, passes="")
        count = 0

        def tick(*_: object) -> None:
            nonlocal count
            count += 1
            progress.update(task, passes=f"{count} passes")

        with nullcontext() if watch is None else _hooked(watch, tick):
            yield lambda images: progress.advance(task, images)


@contextmanager
def _hooked(module: nn.Module, tick: Callable[..., None]) -> Iterator[None]:
    """Call `tick` at every forward pass of a victim inside the block."""
    victims = [part for part in module.modules() if isinstance(part, Victim)]
    handles = [victim.register_forward_hook(tick) for victim in victims]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
