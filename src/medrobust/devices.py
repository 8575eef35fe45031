"""Limit the number of processes to the processors of the machine."""

import os


class DevicesError(ValueError):
    """Raised when more processes are configured than the machine has processors."""


def check_devices(accelerator: str, devices: object) -> None:
    """Raise if there are more CPU processes than processors; two are always allowed.

    Lightning itself checks the number of GPUs.

    Args:
        accelerator: Lightning's name of the accelerator.
        devices: number of devices, or Lightning's text or list for several.

    Raises:
        DevicesError: there are too many processes, or none.
    """
    import torch

    if not (isinstance(devices, int) or (isinstance(devices, str) and devices.isdigit())):
        return
    no_gpu = not torch.cuda.is_available() and not torch.backends.mps.is_available()
    processors = _processors()
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and no_gpu)
    if on_cpu and not 1 <= int(devices) <= processors:
        raise DevicesError(
            f"trainer.devices={devices} is not a possible number of processes on this machine's "
            f"CPU; expected 1 to {processors}"
        )


def _processors() -> int:
    known = getattr(os, "sched_getaffinity", None)
    return max(2, len(known(0)) if known else os.cpu_count() or 1)
