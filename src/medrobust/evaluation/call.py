"""Evaluate a model in memory with one call from Python."""

import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from medrobust.arguments import check_argument
from medrobust.attack.core.base import Attack
from medrobust.attack.none import NoAttack
from medrobust.cache.tensors import TensorCache
from medrobust.code.package import package_digest
from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.image_set import ImageSet, load
from medrobust.data.core.in_memory import InMemory
from medrobust.defense.core.base import Defense
from medrobust.defense.none import NoDefense
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import evaluate as measure
from medrobust.evaluation.identity.row_id import identity_of
from medrobust.evaluation.identity.scientific import Science
from medrobust.evaluation.operating_point import check_operating_point, validation_images
from medrobust.evaluation.row import done_row
from medrobust.metric.operating_point import operating_rule
from medrobust.model.core.frozen import frozen_eval
from medrobust.model.core.victim import Victim
from medrobust.model.core.wrap import as_victim, check_module
from medrobust.number import whole
from medrobust.result.row import CELL, Row
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.base import Threat
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.oblivious import Oblivious

Part = TypeVar("Part")

THREATS: dict[str, type[Threat]] = {
    "oblivious": Oblivious,
    "adaptive": Adaptive,
    "blackbox": BlackBox,
}

Data = tuple[Tensor, Tensor] | Iterable[tuple[Tensor, Tensor]] | ImageSet | MedicalDataModule
"""Images and labels: two tensors, batches of them, an `ImageSet`, or a datamodule's test split."""


def evaluate(
    model: nn.Module,
    data: Data,
    *,
    attack: Attack | None = None,
    defense: Defense | None = None,
    threat: str | Threat = "oblivious",
    seed: int = 0,
    batch_size: int = 128,
    device: torch.device | str | None = None,
    quantize: bool = False,
    defender_draws: int = 1,
    operating_point: str | float | None = None,
    cache: str | Path | None = None,
) -> Row:
    """Attack a model behind a defense, and measure what the deployed system answers.

    The numbers equal those of `medrobust evaluate` for the same victim, images and parts. The model
    is left as it was.

        >>> import medrobust
        >>> from medrobust.attack import PGD
        >>> from medrobust.defense import JPEG
        >>> row = medrobust.evaluate(
        ...     model,
        ...     (images, labels),
        ...     attack=PGD(eps="8/255", steps=20),
        ...     defense=JPEG(quality=75),
        ...     threat="adaptive",
        ... )
        >>> row.metrics["accuracy"], row.intervals["accuracy"], row.flags

    Args:
        model: network on images (N, C, H, W) in [0, 1], normalisation inside, that answers logits;
            or a `Victim`.
        data: images and labels: two tensors, a loader of such batches, an `ImageSet`, or a
            datamodule, whose test split is taken. The labels are classes int64 (N,), masks int64
            (N, H, W) or boxes (N, M, 5).
        attack: attack; None for clean images.
        defense: defense; None for none. A defense that learns needs a datamodule, or a call of its
            `fit` before.
        threat: `oblivious`, `adaptive`, `blackbox`, or a threat with its own settings.
        seed: seed of attack and defense, combined with each image's id.
        batch_size: images at once; changes no result.
        device: device of model and defense; None for the model's.
        quantize: round adversarial images to 8 bits.
        defender_draws: draws of a randomized defense that judge each image; metrics are means over
            them, and `accuracy_worst_draw` wants all of them correct.
        operating_point: `youden`, or a specificity: choose a threshold for each class on the clean
            validation images of a datamodule, and measure sensitivity and specificity there.
        cache: folder in which adversarial sets and answers are kept; None keeps nothing.

    Raises:
        TypeError: `attack`, `defense`, `threat` or `quantize` is of another type.
        ValueError: the threat is unknown, or the data are not images in [0, 1] with labels.
        NumberError: `seed` or `batch_size` is no whole number, or out of range.
        VictimError: the model is no module, or answers no logits.
    """
    with torch.inference_mode(False):  # whatever the caller is in
        return _evaluate(
            model,
            data,
            attack=attack,
            defense=defense,
            threat=threat,
            seed=whole(seed, "seed", high=2**63 - 1),
            batch_size=whole(batch_size, "batch_size", low=1),
            device=device,
            quantize=quantize,
            defender_draws=whole(defender_draws, "defender_draws", low=1),
            operating_point=operating_rule(operating_point),
            cache=cache,
        )


def _evaluate(
    model: nn.Module,
    data: Data,
    *,
    attack: Attack | None,
    defense: Defense | None,
    threat: str | Threat,
    seed: int,
    batch_size: int,
    device: torch.device | str | None,
    quantize: bool,
    defender_draws: int,
    operating_point: str | float | None,
    cache: str | Path | None,
) -> Row:
    start = time.perf_counter()
    attack = _of_type(attack or NoAttack(), Attack, "attack", "PGD(eps='8/255', steps=20)")
    defense = _of_type(defense or NoDefense(), Defense, "defense", "JPEG(quality=75)")
    check_module(model)
    check_argument("evaluate", "quantize", quantize, bool)
    package = package_digest()
    clean, source = _images(data)
    check_operating_point(operating_point, "test", clean.labels)
    validation = None if operating_point is None else validation_images(source)
    with _on_device(model, device) as place, torch.autocast(place.type, enabled=False):
        some = clean.images[:8].to(place)
        victim = as_victim(model, some, clean.labels, probe=True)
        classes = source.num_classes or _classes(victim, some)
        source = source.with_classes(classes) if isinstance(source, InMemory) else source
        defense.to(place)
        given = _threat(threat)
        with frozen_eval(victim), victim.accelerated(), _others_unaccelerated(given):
            if isinstance(source, MedicalDataModule):
                defense.fit(victim, source)
            cell = Cell(
                victim=victim,
                defense=defense,
                surrogate=given(victim, defense),
                attack=attack,
                clean=clean,
                classes=classes,
                seed=seed,
                quantize=quantize,
                data=source,
                defender_draws=defender_draws,
                operating_point=operating_point,
                validation=validation,
            )
            names = _names(cell, given)
            science = _science(cell, given)
            identity = identity_of(cell, given, names, science, package)
            with _cache(cache) as kept:
                result = measure(cell, Runner(place, batch_size, kept))
            seconds = time.perf_counter() - start
            return done_row(
                *(cell, result, identity),
                names=names,
                science=science,
                overrides=(),
                seconds=seconds,
            )


def _of_type(found: Part, kind: type, name: str, example: str) -> Part:
    if not isinstance(found, kind):
        raise TypeError(
            f"{name} is {found!r}, expected a medrobust.{kind.__name__} such as "
            f"medrobust.{name}.{example}"
        )
    return found


def _threat(threat: str | Threat) -> Threat:
    if isinstance(threat, Threat):
        return threat
    if threat not in THREATS:
        raise ValueError(
            f"threat={threat!r}, expected {', '.join(THREATS)}, or a threat such as "
            "medrobust.threat.Adaptive(eot_samples=64)"
        )
    return THREATS[threat]()


def _images(data: Data) -> tuple[ImageSet, MedicalDataModule | InMemory]:
    """Return the images, and the datamodule or its stand-in."""
    if isinstance(data, MedicalDataModule):
        return load(data, "test"), data
    # A new set even of a set: the digest is kept, and its tensors may have been edited since.
    forms: Any = [(data.images, data.labels, data.ids)] if isinstance(data, ImageSet) else data
    clean = ImageSet.of(forms)
    if isinstance(data, ImageSet):
        clean = replace(clean, groups=data.groups)
    return clean, InMemory(clean)


@contextmanager
def _others_unaccelerated(threat: Threat) -> Iterator[None]:
    """Leave the attacker's own victims without a faster copy of weights that may change later."""
    others = [one for one in vars(threat).values() if isinstance(one, Victim)]
    for other in others:
        other.forget()
    try:
        yield
    finally:
        for other in others:
            other.forget()


def _classes(victim: Victim, x: Tensor) -> int:
    with frozen_eval(victim), torch.no_grad():
        return victim.predict(x).logits.shape[1]


@contextmanager
def _on_device(model: nn.Module, device: torch.device | str | None) -> Iterator[torch.device]:
    """Move the model to a device inside the context."""
    before = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    place = before if device is None else torch.device(device)
    if place == before:
        yield before
        return
    try:
        model.to(place)
        yield place
    finally:
        model.to(before)


@contextmanager
def _cache(folder: str | Path | None) -> Iterator[TensorCache]:
    if folder is not None:
        cache = TensorCache(folder)
        with cache.in_use():
            yield cache
        return
    with tempfile.TemporaryDirectory() as own:
        yield TensorCache(own)


def _names(cell: Cell, threat: Threat) -> dict[str, str]:
    """Return the names that tables pivot on: those of the config's choices where there is one."""
    model = cell.victim.architecture.get("name") or type(cell.victim.network).__name__
    found = {
        "data": cell.data.name,
        "model": str(model),
        "threat": _choice(threat),
        "attack": _choice(cell.attack),
        "defense": _choice(cell.defense),
    }
    return {name: found.get(name, "") for name in CELL}


def _choice(part: object) -> str:
    """Return the file of a part of this package, which is the choice's name; else its class."""
    module = type(part).__module__
    return module.rpartition(".")[2] if module.startswith("medrobust.") else type(part).__name__


def _science(cell: Cell, threat: Threat) -> Science:
    keys = {"seed": cell.seed, "quantize": cell.quantize, "precision": "float32", "split": "test"}
    keys |= {} if cell.operating_point is None else {"operating_point": cell.operating_point}
    parts = {"attack": cell.attack, "threat": threat, "defense": cell.defense}
    config = {name: dict(part.settings) for name, part in parts.items()}
    config["data"] = {"name": cell.data.name}
    config["model"] = dict(cell.victim.architecture)
    return Science(config | keys, keys).judged_by(cell.draws)
