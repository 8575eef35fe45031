"""Predictions of the deployed system for a set of images."""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from medrobust.box.keep import kept
from medrobust.code.digest import check_unchanged, reach_digest
from medrobust.configured import all_code, unsourced
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.evaluation.batches.batches import Batch
from medrobust.evaluation.batches.diagnosis import check_finite, name_culprits
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.stream import defender_seeds
from medrobust.fingerprint import digest
from medrobust.model.core.frozen import check_frozen
from medrobust.model.core.victim import Victim
from medrobust.prediction import Answers, Prediction

FORMAT = 3
_DETAIL = "details."


def _fields(prediction: Prediction) -> dict[str, Tensor]:
    """Return the tensors that are kept of a batch's prediction."""
    if prediction.anchored is not None:
        found = kept(prediction)
        fields = {
            "label": found.label.to(torch.int16),
            "boxes": found.boxes,
            "box_logit": found.logit,
        }
    else:
        fields = {"label": prediction.label.to(torch.uint8)}
    if prediction.logits.ndim == 2:
        fields["log_odds"] = prediction.log_odds
    for name in ("score", "confidence", "abstain"):
        value = getattr(prediction, name)
        if value is not None:
            fields[name] = _exact(value)
    if prediction.threshold is not None and prediction.score is not None:
        threshold = _exact(prediction.threshold)
        fields["threshold"] = threshold.expand(len(prediction.score)).clone()
    for name, value in prediction.details.items():
        fields[_DETAIL + name] = _exact(value)
    return fields


def _exact(value: Tensor) -> Tensor:
    """A number in float64, so that no rank or threshold meets a rounded one; a bool as it is."""
    return value if value.dtype == torch.bool else value.double()


@dataclass(frozen=True)
class _Answer:
    """Lets the deployed system answer a batch.

    Attributes:
        defense: deployed.
        victim: frozen.
    """

    defense: Defense
    victim: Victim

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return the tensors that are kept; name the images that cause an error."""
        x, seeds = batch.images, batch.seeds
        with torch.no_grad(), name_culprits(self.defense, self.victim, x, seeds, batch.ids):
            prediction = self.defense(x, self.victim, seeds=seeds)
        check_finite(prediction.logits, "logits", batch.number, batch.ids)
        if prediction.score is not None:
            score = prediction.score.masked_fill(prediction.score.isinf(), 0)  # these rank
            check_finite(score, "the detector's scores", batch.number, batch.ids)
        return _fields(prediction)


def answers(
    defense: Defense,
    victim: Victim,
    images: ImageSet,
    runner: Runner,
    *,
    seed: int,
    draw: int = 0,
) -> Answers:
    """Return the defended victim's answers, replayed when these very images were answered before.

    Args:
        defense: deployed.
        victim: frozen, on the runner's device.
        images: clean or attacked.
        runner: computes and caches.
        seed: the run's seed.
        draw: number of the randomized defense's draw, from 0; each has an entry of its own.

    Raises:
        FloatingPointError: NaN or infinite logits, with the ids of the images.
        UnfrozenError: victim or defense is in training mode.
    """
    for part in (victim, defense):
        check_frozen(part, "evaluation")
    code = all_code(victim, defense)
    reached = reach_digest(code, __name__)
    parts = {
        "format": FORMAT,
        "code": reached,
        "victim": victim.identity,
        "defense": defense.fingerprint,
        "images": images.digest,
        "seed": seed,
    } | ({"draw": draw} if draw else {})  # the first draw has the key of a single one
    key = None if unsourced(code) else digest(parts)

    with runner.cache.slot(key) as slot:
        if slot.found is None:
            start = time.perf_counter()
            seeds = defender_seeds(seed, images.ids, draw)
            with runner.progress("answer", len(images), watch=victim) as advance:
                tensors = runner.map(_Answer(defense, victim), images, seeds, advance=advance)
            check_unchanged(reached, code, __name__)
            slot.fill(tensors, {"seconds": time.perf_counter() - start})
    found, meta = slot.entry
    return Answers(
        found["label"].long(),
        found.get("log_odds"),
        found.get("score"),
        found.get("confidence"),
        found.get("abstain"),
        meta["seconds"],
        key,
        {
            name.removeprefix(_DETAIL): value
            for name, value in found.items()
            if name.startswith(_DETAIL)
        },
        found.get("threshold"),
        found.get("boxes"),
        found.get("box_logit"),
    )
