"""Limit the number of processes to what the machine has."""

import os


class DevicesError(ValueError):
    """More processes than the machine has processors."""


def check_devices(accelerator: str, devices: object) -> None:
    """Refuse more processes on the CPU than it has processors; two are allowed on any machine.

    Of GPUs Lightning itself says when there are too few.

    Args:
        accelerator: Lightning's word for it.
        devices: a number, or Lightning's words for several.

    Raises:
        DevicesError: too many, or none.
    """
    import torch

    if not (isinstance(devices, int) or (isinstance(devices, str) and devices.isdigit())):
        return
    no_gpu = not torch.cuda.is_available() and not torch.backends.mps.is_available()
    processors = _processors()
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and no_gpu)
    if on_cpu and not 1 <= int(devices) <= processors:
        raise DevicesError(
            f"trainer.devices={devices} is no number of processes that this machine's CPU bears; "
            f"expected 1 to {processors}"
        )


def _processors() -> int:
    known = getattr(os, "sched_getaffinity", None)
    return max(2, len(known(0)) if known else os.cpu_count() or 1)
