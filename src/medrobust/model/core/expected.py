"""Comparison of a victim's checkpoint with what its user expects."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from medrobust.checkpoint import TrainingMeta
from medrobust.model.core.builder import family
from medrobust.model.core.error import VictimError
from medrobust.target import differences


@dataclass(frozen=True)
class Expected:
    """Requirements on a victim; None accepts anything.

    The claims of a row are compared with the content of the file, not with its path, so that a
    checkpoint that was copied to the path of another victim is refused.

    Attributes:
        task: task of the data at hand.
        classes: its class names, in the order of the logits.
        phantom: True if the data are a phantom.
        data_digest: digest of their manifest.
        seed: seed of the victim's training.
        model: config of its model; null arguments match anything.
        objective: config of its training objective.
        keys: config keys that choose model, objective and seed, for the error.
    """

    task: str | None = None
    classes: Sequence[str] | None = None
    phantom: bool | None = None
    data_digest: str | None = None
    seed: int | None = None
    model: Mapping[str, Any] | None = None
    objective: Mapping[str, Any] | None = None
    keys: Mapping[str, str] | None = None

    @classmethod
    def on(cls, data: Any, **claims: Any) -> Self:
        """Return the requirements on a victim trained on the data of a datamodule.

        Args:
            data: datamodule at hand.
            claims: `seed`, `model`, `objective`, `keys`.
        """
        return cls(
            task=data.task,
            classes=tuple(data.classes),
            phantom=data.phantom,
            data_digest=data.manifest.digest,
            **claims,
        )

    def check(
        self,
        path: str | Path,
        meta: TrainingMeta,
        architecture: Mapping[str, Any],
        train_command: str,
    ) -> None:
        """Check that a checkpoint meets the requirements.

        Args:
            path: its path, for the error.
            meta: provenance in the file.
            architecture: architecture in the file.
            train_command: command that trains the expected victim.

        Raises:
            VictimError: the checkpoint differs; names the difference and the fix.
        """
        remedy = f"train it again with\n  {train_command} overwrite=true"
        check_data(self, path, meta, remedy=remedy, error=VictimError)
        found = [*self._choices(meta, architecture, str(path))]
        if not found:
            return
        says = ", ".join(f"{key}={theirs}" for key, theirs, _ in found)
        asked = ", ".join(f"{key}={ours}" for key, _, ours in found)
        words = self._words(found)
        use = f"set {words} to use this file, or " if words else ""
        raise VictimError(f"{path} was trained with {says}, expected {asked}; {use}{remedy}")

    def _choices(
        self, meta: TrainingMeta, architecture: Mapping[str, Any], source: str
    ) -> list[tuple[str, Any, Any]]:
        """Return (key, value in the file, expected value) where they differ."""
        found: list[tuple[str, Any, Any]] = []
        if self.model is not None:
            built = {**architecture, "builder": family(architecture, source)}
            built.pop("_target_", None)
            wanted = {key: value for key, value in self.model.items() if value is not None}
            if "_target_" in wanted:
                wanted["builder"] = family({"_target_": _old_form(wanted["_target_"])}, "model")
            found += _by_name("model", built, wanted)
        if self.objective is not None:
            said = meta.recipe.get("objective")
            said = said if isinstance(said, Mapping) else {}
            found += _by_name("objective", said, self.objective)
        if self.seed is not None and meta.seed != self.seed:
            found.append(("seed", meta.seed, self.seed))
        return found

    def _words(self, found: Sequence[tuple[str, Any, Any]]) -> str:
        """Return the overrides that select what is in the file, quoted for a shell."""
        keys = self.keys or {}
        words = []
        for key, theirs, _ in found:
            group, dot, rest = key.partition(".")
            if group not in keys or rest == "builder" or theirs is None:
                continue
            # A group is selected by its option, an argument in it by its path in the config.
            place = keys[group].split("@")[-1] if dot else keys[group]
            words.append(f"{place}{dot}{rest}={theirs}")
        return shlex.join(words)


def check_data(
    expected: Expected, path: str | Path, meta: TrainingMeta, *, remedy: str, error: type[Exception]
) -> None:
    """Check that a checkpoint was trained on the data at hand.

    Args:
        expected: requirements, of which `task`, `classes`, `phantom` and `data_digest` are checked.
        path: path of the checkpoint, for the error.
        meta: provenance of its weights.
        remedy: fix of a difference, for the error.
        error: exception type to raise.

    Raises:
        Exception: of type `error`, if the checkpoint was trained on other data.
    """
    kinds = {True: "procedural phantoms", False: "real images"}
    if expected.task is not None and meta.task != expected.task:
        raise error(
            f"{path} was trained for {meta.task}, the data at hand are for {expected.task}; "
            f"{remedy}"
        )
    if expected.phantom is not None and meta.phantom != expected.phantom:
        raise error(
            f"{path} was trained on {kinds[meta.phantom]}, the data at hand are "
            f"{kinds[expected.phantom]}; {remedy}"
        )
    if expected.classes is not None and list(meta.classes) != list(expected.classes):
        raise error(
            f"{path} has the {len(meta.classes)} classes {_listed(meta.classes)} "
            f"({meta.data_key}), the data at hand have {len(expected.classes)}: "
            f"{_listed(expected.classes)}; {remedy}"
        )
    if expected.data_digest is not None and meta.data_digest != expected.data_digest:
        raise error(
            f"{path} was trained on {meta.data_key} with manifest {meta.data_digest[:12]}, "
            f"the data at hand have {expected.data_digest[:12]}; {remedy}"
        )


def _by_name(
    group: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]
) -> list[tuple[str, Any, Any]]:
    """Return the differences of two configs: their names, or else their common keys."""
    if theirs.get("name") != ours.get("name"):
        return [(group, theirs.get("name"), ours.get("name"))]
    both = set(theirs) & set(ours)
    return [
        (f"{group}.{key}", left, right)
        for key, left, right in differences(
            {key: theirs[key] for key in both}, {key: ours[key] for key in both}
        )
    ]


def _old_form(target: str) -> str:
    """Return the name that a builder had in the first checkpoints."""
    return ".".join(["medrobust.model", *target.split(".")[-2:]])


def _listed(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
