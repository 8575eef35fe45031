"""A set in batches that shrink when memory runs out; no result depends on how it was cut."""

import logging
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from medrobust.data.core.image_set import ImageSet

_log = logging.getLogger(__name__)

# Allocators and libraries that raise a plain RuntimeError say it in these words.
_WORDS = ("can't allocate memory", "out of memory", "_STATUS_ALLOC_FAILED")


class Batch(NamedTuple):
    """Some samples on the device.

    Attributes:
        images: float32 (N, C, H, W) in [0, 1].
        labels: int64 (N,) or (N, H, W), or boxes (N, M, 5).
        seeds: int64 (N,).
        ids: N sample ids.
        first: place of the first of them in the whole set.
        number: number of the batch before any was halved, for messages.
    """

    images: Tensor
    labels: Tensor
    seeds: Tensor
    ids: tuple[str, ...]
    first: int
    number: int


Work = Callable[[Batch], dict[str, Tensor]]
"""Function of a batch that returns tensors by name, each with the batch's length."""


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the device, or the host, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


def map_batches(
    work: Work,
    images: ImageSet,
    seeds: Tensor,
    *,
    batch_size: int,
    device: torch.device,
    advance: Callable[[int], None] = lambda _: None,
    first: int = 0,
) -> dict[str, Tensor]:
    """Do some work on every batch; when memory runs out, on batches of half the size from there.

    Args:
        work: must give a sample the same in any batch.
        images: what to work on.
        seeds: int64 (N,), one per image.
        batch_size: images at once.
        device: where the work is done.
        advance: told the number of images after each batch.
        first: place of the first image in the whole set, when this is a share of it.

    Returns:
        What the work gave, in the order of the images, on the host.

    Raises:
        RuntimeError: one image alone is too much; as every error of the work it goes up unchanged.
    """
    parts: list[dict[str, Tensor]] = []
    at, size = 0, batch_size
    while at < len(images):
        part = slice(at, min(at + size, len(images)))
        found = _attempt(work, images, seeds, part, device, (first, batch_size))
        if found is None:
            size = (part.stop - part.start) // 2
            if device.type == "cuda":
                torch.cuda.empty_cache()
            _log.warning("out of memory with %d images on %s: on with %d", 2 * size, device, size)
            continue
        parts.append(found)
        advance(part.stop - part.start)
        at = part.stop
    names = dict.fromkeys(name for found in parts for name in found)
    return {name: torch.cat([found[name] for found in parts if name in found]) for name in names}


def _attempt(
    work: Work,
    images: ImageSet,
    seeds: Tensor,
    part: slice,
    device: torch.device,
    place: tuple[int, int],
) -> dict[str, Tensor] | None:
    """Return what the work gives, on the host; None when memory ran out and a batch can be halved.

    A function of its own: what the failed try holds on the device is free when it returns.
    """
    first, batch_size = place[0] + part.start, place[1]
    try:
        batch = Batch(
            images.images[part].to(device),
            images.labels[part].to(device),
            seeds[part].to(device),
            images.ids[part],
            first,
            first // batch_size,
        )
        return {name: value.cpu() for name, value in work(batch).items()}
    except Exception as error:
        if not out_of_memory(error) or part.stop - part.start == 1:
            raise
    return None
