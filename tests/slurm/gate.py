"""An attack that waits until it is let through; in a module that a Slurm job can import."""

import time
from pathlib import Path

from torch import Tensor, nn

LIMIT_S = 600


def held(model: nn.Module, x: Tensor, y: Tensor, *, gates: str, number: int) -> Tensor:
    """The images as they are, once `<gates>/open <number>` is there.

    Args:
        model: not asked.
        x: images.
        y: labels.
        gates: a folder; each arrival leaves a file in it.
        number: which gate.

    Raises:
        TimeoutError: nobody opened it.
    """
    folder = Path(gates)
    (folder / f"arrived {number} {time.time_ns()}").touch()
    end = time.monotonic() + LIMIT_S
    while not (folder / f"open {number}").exists():
        if time.monotonic() > end:
            raise TimeoutError(f"nobody opened gate {number} of {gates} in {LIMIT_S} s")
        time.sleep(0.05)
    return x.clone()
