"""What the deployed system answers to a set of images."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from medrobust.defense.base import Defense
from medrobust.evaluation.blame import check_finite, naming
from medrobust.evaluation.cache import TensorCache
from medrobust.evaluation.images import ImageSet
from medrobust.evaluation.stream import defender_seeds
from medrobust.fingerprint import digest
from medrobust.model.victim import Victim
from medrobust.prediction import Prediction

FORMAT = 1


class Answers(NamedTuple):
    """Predictions for a whole set, on the host.

    Attributes:
        label: int64 (N,) or (N, H, W).
        probability: float32 (N, K); None for segmentation, where it would fill the disk.
        score: (N,) detectors' scores, or None.
        confidence: (N,) or None.
        abstain: bool (N,) or None.
        seconds: time the predictions took, also when replayed.
        key: of the cache, what they were computed from.
    """

    label: Tensor
    probability: Tensor | None
    score: Tensor | None
    confidence: Tensor | None
    abstain: Tensor | None
    seconds: float
    key: str = ""


def _fields(prediction: Prediction) -> dict[str, Tensor]:
    """What is kept of a batch's prediction."""
    fields = {"label": prediction.label.to(torch.uint8)}
    if prediction.logits.ndim == 2:
        fields["probability"] = prediction.logits.softmax(dim=1)
    for name in ("score", "confidence", "abstain"):
        value = getattr(prediction, name)
        if value is not None:
            fields[name] = value if value.dtype == torch.bool else value.float()
    return fields


def answers(
    defense: Defense,
    victim: Victim,
    images: ImageSet,
    *,
    seed: int,
    batch_size: int,
    device: torch.device,
    cache: TensorCache,
    advance: Callable[[int], None] = lambda _: None,
) -> Answers:
    """The defended victim's answers, replayed when these very images were answered before.

    Args:
        defense: deployed.
        victim: frozen, on `device`.
        images: what the clinic sees.
        seed: the run's seed.
        batch_size: images at once; changes no result.
        device: where to compute.
        cache: where answers are kept.
        advance: told the number of images after each batch.

    Raises:
        FloatingPointError: NaN or infinite logits, with the ids of the images.
    """
    key = digest(
        {
            "format": FORMAT,
            "victim": victim.fingerprint,
            "defense": defense.fingerprint,
            "images": images.digest,
            "seed": seed,
        }
    )

    def make() -> tuple[dict[str, Tensor], dict[str, object]]:
        start = time.perf_counter()
        seeds = defender_seeds(seed, images.ids)
        parts: list[dict[str, Tensor]] = []
        for at in range(0, len(images), batch_size):
            part = slice(at, at + batch_size)
            x, ids = images.images[part].to(device), images.ids[part]
            with torch.no_grad(), naming(defense, victim, x, seeds[part].to(device), ids):
                prediction = defense(x, victim, seeds=seeds[part].to(device))
            check_finite(prediction.logits, "logits", at // batch_size, ids)
            fields = _fields(prediction)
            parts.append({name: value.cpu() for name, value in fields.items()})
            advance(len(x))
        tensors = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        return tensors, {"seconds": time.perf_counter() - start}

    entry, replayed = cache.get_or_make(key, make)
    if replayed:
        advance(len(images))
    found = entry.tensors
    return Answers(
        found["label"].long(),
        found.get("probability"),
        found.get("score"),
        found.get("confidence"),
        found.get("abstain"),
        entry.meta["seconds"],
        key,
    )
