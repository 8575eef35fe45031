"""Adversarial sets: crafted once per (surrogate, attack, images, seed), then replayed."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.judging import Judging
from medrobust.code.digest import check_unchanged, reach_digest
from medrobust.configured import Code, all_code, unsourced
from medrobust.data.core.image_set import ImageSet
from medrobust.evaluation.batches.batches import Batch
from medrobust.evaluation.batches.diagnosis import check_gradients
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.checks import craft_checks
from medrobust.evaluation.quantize import quantize as to_eight_bit
from medrobust.evaluation.stream import attacker_seeds
from medrobust.fingerprint import digest
from medrobust.metric.perturbation import Course
from medrobust.threat.surrogate import Surrogate

FORMAT = 3


class AdversarialSet(NamedTuple):
    """An attacked image set.

    Attributes:
        images: the same samples, attacked.
        key: what it was made from; None when code without source had a part in it.
        seconds: crafting time, also when it is replayed.
        checks: attack-strength measurements made on the surrogate.
        queries: int64 (N,), of a black-box attack.
        replayed: it was on disk already.
        course: int64 (N, 2), of an iterated attack that was watched; see `Course`.
        member: int64 (N,), place in `members` of the one that fooled the image, -1 for none; of
            an ensemble.
        members: names of an ensemble's attacks.
    """

    images: ImageSet
    key: str | None
    seconds: float
    checks: dict[str, float]
    replayed: bool
    queries: Tensor | None = None
    course: Tensor | None = None
    member: Tensor | None = None
    members: tuple[str, ...] = ()


def set_key(
    surrogate: Surrogate,
    attack: Attack,
    clean: ImageSet,
    seed: int,
    eight: bool,
    learned_from: str = "",
    *,
    watched: bool = False,
) -> str | None:
    """Return the SHA-256 of everything that the set depends on.

    An oblivious surrogate holds no defense, so all defenses share its set; an adaptive one
    differs by itself. Nothing here decides this.

    Returns:
        None when code of attack or surrogate has no source, and so cannot be known again.
    """
    code = seen_code(surrogate, attack)
    if unsourced(code):
        return None
    return digest(
        {
            "format": FORMAT,
            "code": reach_digest(code, __name__),
            "surrogate": seen_identity(surrogate, attack),
            "attack": attack.fingerprint,
            "images": clean.digest,
            "seed": seed,
            "quantize": eight,
            "learned_from": learned_from if attack.learns else "",
        }
        | ({"watched": True} if watched else {})  # without it, the key of a set that lacks a course
    )


def seen_code(surrogate: Surrogate, attack: Attack) -> tuple[Code, ...]:
    """Return the code of the attack and of every view that it attacks."""
    views = surrogate.siblings.every if attack.uses_siblings else ()
    return all_code(surrogate, *views, attack)


def seen_identity(surrogate: Surrogate, attack: Attack) -> str:
    """Return the identity of what the attack sees: of the surrogate, and of its siblings."""
    if not attack.uses_siblings:
        return surrogate.identity
    siblings = surrogate.siblings
    named = [[name, view.identity] for name, view in siblings.stand_ins.items()]
    return digest([surrogate.identity, siblings.bare.identity, named, siblings.deployed.identity])


def training_digest(data: Any) -> str:
    """SHA-256 of the training images that an attack may learn from, limits included."""
    return digest([data.manifest.digest, [entry.id for entry in data.dataset("train").entries]])


@dataclass(frozen=True)
class Craft:
    """Attacks a batch.

    Attributes:
        surrogate: what the attacker sees.
        attack: crafts, fitted if it learns.
        quantize: round to 8 bits.
        watched: note the attack's course, too.
    """

    surrogate: Surrogate
    attack: Attack
    quantize: bool
    watched: bool = False

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return `images`, and what the attack has of `queries`, `member` and `course`.

        Raises:
            AttackError: the attack broke its contract; names the images.
            FloatingPointError: NaN in a gradient; names the batch and its images.
        """
        x = batch.images
        try:
            with (
                self.surrogate.nan_gradients() as nan,
                self._course(len(x)) as course,
                self._rounding(),
            ):
                crafted = self.attack.craft(self.surrogate, x, batch.labels, seeds=batch.seeds)
        except AttackError as error:
            raise AttackError(f"{error}; the batch holds {batch.ids}") from None
        check_gradients(nan, batch.number, batch.ids)
        made = crafted.images
        if self.quantize and not isinstance(self.attack, Judging):
            made = self._rounded(x, made)
        more = {
            "queries": crafted.queries,
            "member": crafted.member,
            "course": None if course is None else course.counts,
        }
        return {"images": made, **{name: one for name, one in more.items() if one is not None}}

    def _rounded(self, x: Tensor, made: Tensor) -> Tensor:
        return to_eight_bit(x, made, self.attack.norm, self.attack.eps)

    def _rounding(self) -> AbstractContextManager[None]:
        """Let an attack that chooses among images see them rounded, where they will be."""
        if self.quantize and isinstance(self.attack, Judging):
            return self.attack.handing_over(self._rounded)
        return nullcontext()

    @contextmanager
    def _course(self, count: int) -> Iterator[Course | None]:
        """Record the course of an iterated attack inside the block, where that is wanted."""
        if not (self.watched and isinstance(self.attack, Iterated)):
            yield None
            return
        course = Course(count)
        with self.attack.watched(course):
            yield course


def adversarial_set(
    surrogate: Surrogate,
    attack: Attack,
    clean: ImageSet,
    runner: Runner,
    *,
    seed: int,
    quantize: bool,
    data: Any = None,
    watched: bool = False,
) -> AdversarialSet:
    """Replay the set, or craft and store it.

    Args:
        surrogate: model that the attack differentiates or queries, on the runner's device.
        attack: crafts a batch.
        clean: images to attack.
        runner: computes and caches.
        seed: the run's seed; with each sample's id it gives that sample's own.
        quantize: round to the 8-bit image that could really be handed over.
        data: datamodule whose training split an attack learns from, if it learns.
        watched: note the course of an iterated attack, too; the images are the same.

    Raises:
        AttackError: the attack broke its budget or gave no numbers; names the batch's images.
    """
    if attack.learns and data is None:
        raise AttackError(f"{type(attack).__name__} learns from training data; pass `data`")
    learned_from = training_digest(data) if attack.learns else ""
    watched = watched and isinstance(attack, Iterated)
    key = set_key(surrogate, attack, clean, seed, quantize, learned_from, watched=watched)
    code = seen_code(surrogate, attack)
    reached = reach_digest(code, __name__)
    with runner.cache.slot(key) as slot:
        if slot.found is None:
            start = time.perf_counter()
            seeds = attacker_seeds(seed, clean.ids)
            if attack.learns:
                attack.fit(surrogate, data)
            work = Craft(surrogate, attack, quantize, watched)
            with runner.progress("craft", len(clean), watch=surrogate) as advance:
                tensors = runner.map(work, clean, seeds, advance=advance)
            check_unchanged(reached, code, __name__)
            seconds = time.perf_counter() - start
            checks = craft_checks(surrogate, attack, clean, tensors["images"], seeds, runner)
            members = _members(surrogate, attack, clean, seeds, runner)
            slot.fill(tensors, {"seconds": seconds, "checks": checks} | members)
    tensors, meta = slot.entry
    return AdversarialSet(
        clean.with_images(tensors["images"]),
        key,
        meta["seconds"],
        meta["checks"],
        replayed=slot.found is not None,
        queries=tensors.get("queries"),
        course=tensors.get("course"),
        member=tensors.get("member"),
        members=tuple(meta.get("members", ())),
    )


def _members(
    surrogate: Surrogate, attack: Attack, clean: ImageSet, seeds: Tensor, runner: Runner
) -> dict[str, list[str]]:
    """Return the names of an ensemble's attacks, to be kept beside the set."""
    first = (part[:1].to(runner.device) for part in (clean.images, clean.labels, seeds))
    names = attack.members(surrogate, *first)
    return {"members": list(names)} if names else {}
