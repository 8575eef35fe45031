"""Base classes of defenses that are trained before they are deployed."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import torch
from hydra.utils import get_class
from torch import Tensor

from medrobust.checkpoint import check_dtypes, differences
from medrobust.defense.core.base import Defense, Purifier
from medrobust.defense.core.checkpoint import (
    DefenseError,
    DefenseMeta,
    MissingDefenseError,
    read_defense,
)
from medrobust.defense.core.detector import Detector
from medrobust.fingerprint import digest_tensors
from medrobust.invocation import command, data_words
from medrobust.model.core.expected import Expected, check_data
from medrobust.model.core.victim import Victim
from medrobust.result.flag import Flag


class UntrainedDefenseError(RuntimeError):
    """Raised when a learned defense is used before its weights are loaded."""


class Learned(Defense):
    """A defense with weights of its own: `medrobust train` trains them, `fit` loads them.

    Its networks are built by `build`, which gets the image channels, and not by the constructor,
    which takes only hyper-parameters.

    Args:
        name: name in paths and tables.
        checkpoint: file of the weights.
        seed: seed of the training.
        rest: arguments of the next base class.
    """

    unscientific: tuple[str, ...] = ("checkpoint",)
    loop: ClassVar[str]  # dotted name of its training loop, a `DefenseModule`
    needs_victim: ClassVar[bool] = False  # True: trained for one victim, and rejected for others
    untrained: ClassVar[tuple[str, ...]] = ()  # settings that change no weight

    def __init__(self, name: str, checkpoint: str, seed: int = 0, **rest: Any) -> None:
        super().__init__(**rest)
        self.name, self.checkpoint, self.seed = name, Path(checkpoint), seed
        self.meta: DefenseMeta | None = None
        self.train_command: str | None = None  # for the error when the checkpoint is missing

    def inspect_victim(self, victim: Victim, datamodule: Any) -> None:
        """Read from the victim what `build` needs; called before it if `needs_victim`."""

    @abstractmethod
    def build(self, channels: int) -> None:
        """Build the untrained networks for images of so many channels (1 or 3)."""

    def training_module(self, setup: Any) -> Any:
        """Return the training loop `loop` of this defense, whose networks are built.

        Args:
            setup: setup of the training, a `TrainingSetup`.
        """
        return get_class(self.loop)(self, setup)

    @property
    def training_settings(self) -> dict[str, Any]:
        """Return the settings that decide the weights; a checkpoint must have equal ones."""
        return {key: value for key, value in self.settings.items() if key not in self.untrained}

    def remarks(self, meta: DefenseMeta) -> tuple[Flag, ...]:
        """Return flags of numbers that such weights give; none for most."""
        return ()

    def fit(self, victim: Victim, datamodule: Any) -> None:
        """Load the trained weights, frozen, onto the victim's device.

        Args:
            victim: victim to defend.
            datamodule: data at hand.

        Raises:
            MissingDefenseError: the defense is not trained yet; names the command.
            DefenseError: the checkpoint is damaged, or of other settings, data or another victim.
        """
        command = self.train_command or _command(self, datamodule)
        if not self.checkpoint.exists():
            raise MissingDefenseError(self.checkpoint, command)
        content = read_defense(self.checkpoint)
        meta = DefenseMeta(**content["meta"])
        remedy = f"train it again with\n  {command} overwrite=true"
        changed = differences(content["settings"], self.training_settings)
        if changed:
            raise DefenseError(
                f"{self.checkpoint} was trained with other settings:\n  "
                + "\n  ".join(changed)
                + f"\n{remedy}"
            )
        if meta.seed != self.seed:
            raise DefenseError(
                f"{self.checkpoint} was trained with seed={meta.seed}, "
                f"expected {self.seed}; {remedy}"
            )
        expected = Expected.on(datamodule)
        check_data(expected, self.checkpoint, meta, remedy=remedy, error=DefenseError)
        if self.needs_victim and meta.victim != victim.fingerprint:
            raise DefenseError(
                f"{self.checkpoint} was trained for the victim {meta.victim[:12]}, "
                f"the victim at hand is {victim.fingerprint[:12]}; {remedy}"
            )
        with torch.random.fork_rng(devices=[]):  # loading must not consume random numbers
            if self.needs_victim:
                self.inspect_victim(victim, datamodule)
            self.build(datamodule.channels)
        state = content["state_dict"]
        check_dtypes(self.checkpoint, self.state_dict(), state, error=DefenseError, remedy=remedy)
        try:
            self.load_state_dict(state)
        except RuntimeError as error:
            raise DefenseError(
                f"{self.checkpoint}: weights and settings do not agree ({error}); {remedy}"
            ) from None
        found = digest_tensors(self.state_dict())
        if found != content["fingerprint"]:
            raise DefenseError(
                f"{self.checkpoint}: its weights give fingerprint {found[:12]}, "
                f"the file says {content['fingerprint'][:12]}; {remedy}"
            )
        self.meta = meta
        self.to(victim.mean.device)
        self.eval().requires_grad_(False)

    def check_trained(self) -> None:
        """Check that the weights are loaded.

        Raises:
            UntrainedDefenseError: `fit` was not called.
        """
        if self.meta is None:
            raise UntrainedDefenseError(
                f"defense {self.name} has no weights yet; train it with\n  "
                f"{self.train_command or command('train', [f'defense={self.name}'])}\n"
                f"and load them with fit(victim, data)"
            )


class LearnedPurifier(Learned, Purifier):
    """A purifier with trained networks; the adaptive gradient goes through them."""

    @abstractmethod
    def restore(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute `purify`, without the check for trained networks."""

    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to purified images in [0, 1].

        Raises:
            UntrainedDefenseError: the weights are not loaded yet.
        """
        self.check_trained()
        return self.restore(x, seeds=seeds)


def learners(defense: Defense) -> list[Learned]:
    """Return the learned parts of a defense, itself included."""
    return [part for part in defense.modules() if isinstance(part, Learned)]


def training_seconds(defense: Defense) -> float:
    """Return the training time in seconds of a defense's loaded weights, parts included."""
    return sum(part.meta.seconds for part in learners(defense) if part.meta is not None)


def training_queries(defense: Defense) -> int:
    """Return the queries to the victim in that training, 0 unless it was a black box."""
    return sum(part.meta.queries for part in learners(defense) if part.meta is not None)


def remarks(defense: Defense) -> list[Flag]:
    """Return the flags of the loaded weights of a defense, and of its parts."""
    return [
        remark
        for part in learners(defense)
        if part.meta is not None
        for remark in part.remarks(part.meta)
    ]


class LearnedDetector(Learned, Detector):
    """A detector with trained networks; `fit` loads them, then chooses the threshold.

    The arguments of `Detector` are passed by name: `taps`, `cushion`, `tnr`, `fits`. `shapes` holds
    the shapes of the taps' outputs for `build`, {tap: (C, ...)}.
    """

    unscientific = ("checkpoint", "fits")
    untrained: ClassVar[tuple[str, ...]] = ("tnr",)
    needs_victim: ClassVar[bool] = True
    shapes: dict[str, tuple[int, ...]]

    @torch.no_grad()
    def inspect_victim(self, victim: Victim, datamodule: Any) -> None:
        """Record the shapes of the taps' outputs.

        Raises:
            ValueError: there are no taps.
            KeyError: the victim lacks a tap; lists those that it has.
        """
        if not self.taps:
            raise ValueError(f"defense.taps is empty; name layers out of {victim.taps}")
        side = datamodule.size
        blank = torch.zeros(1, datamodule.channels, side, side, device=victim.mean.device)
        _, features = victim.features(blank, self.taps)
        self.shapes = {tap: tuple(found.shape[1:]) for tap, found in features.items()}

    def fit(self, victim: Victim, datamodule: Any) -> None:
        """Load the weights, then fit as any detector.

        Raises:
            MissingDefenseError: the defense is not trained yet; names the command.
            DefenseError: the checkpoint is damaged, or of other settings, data or another victim.
            FitError: see `Detector.fit`.
        """
        self.forget()  # a checkpoint holds no statistics and no threshold
        Learned.fit(self, victim, datamodule)
        Detector.fit(self, victim, datamodule)


def _command(defense: Learned, datamodule: Any) -> str:
    """Return the training command of a defense without a config."""
    words, places = data_words(datamodule.name, phantom=datamodule.phantom)
    return command("train", [f"defense={defense.name}", *words, f"seed={defense.seed}", *places])
