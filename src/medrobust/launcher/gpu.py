"""Assign one GPU to each worker process of a machine."""

import fcntl
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

_VARIABLE = "CUDA_VISIBLE_DEVICES"
_held: list[int] = []  # open lock files, held until this process ends


def visible_gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that this process may use: `CUDA_VISIBLE_DEVICES`, else all."""
    named = os.environ.get(_VARIABLE)
    if named is not None:
        return tuple(name.strip() for name in named.split(",") if name.strip())
    if shutil.which("nvidia-smi") is None:
        return ()
    listed = subprocess.run(
        ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False
    )
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return tuple(map(str, range(count)))


def claim(gpus: Sequence[str], folder: str | Path | None = None) -> None:
    """Make the least used of some GPUs the only one that this process sees.

    It does nothing without GPUs or if this process has one, and must run before PyTorch looks for
    GPUs. The claim is a file lock, which the system releases when the process ends. It counts the
    processes of all sweeps of this user on this machine.

    Args:
        gpus: names as in `CUDA_VISIBLE_DEVICES`.
        folder: folder of the locks; by default one per user in the temporary folder.
    """
    if _held or not gpus:
        return
    folder = Path(folder or f"{tempfile.gettempdir()}/medrobust_gpus_{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    # Round 0 finds an unused GPU, round 1 one used by a single process, and so on.
    for turn, gpu in ((turn, gpu) for turn in itertools.count() for gpu in gpus):
        file = os.open(folder / f"{gpu.replace('/', '_')}_{turn}", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        _held.append(file)
        os.environ[_VARIABLE] = gpu
        return
