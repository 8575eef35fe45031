"""Base classes of defenses, purifiers and votes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from medrobust.configured import Configured
from medrobust.fingerprint import digest, digest_tensors
from medrobust.model.core.victim import Victim
from medrobust.number import whole
from medrobust.prediction import Prediction
from medrobust.rng import fold_in

Derivative = Callable[..., Tensor]
"""A differentiable function of images and their seeds; see `Purifier.derivatives`."""

_CACHED = 2**20
"""Bytes of copies that are drawn at once on a CPU, so that noise and filters stay in its cache."""


class StandInError(ValueError):
    """A stand-in does not answer with an image of the purifier's shape."""


class Defense(Configured, nn.Module, ABC):
    """The base class of defenses.

        >>> JPEG(quality=75)(images, victim, seeds=torch.arange(len(images))).label

    Seeds are per image, so that a randomized defense gives an image the same answer in any batch.
    `random` is True if they are used, and an adaptive attacker then averages over them.
    """

    random: bool = False
    moves_pixels: ClassVar[bool] = False
    """True if pixels change their place, so that a mask would not fit the image."""
    stand_in_name: str = ""
    """Name of the derivative in a copy made by `stand_ins` or `with_identity`; else empty."""
    quantization_step: float | None = None
    """Distance between the levels that it rounds pixels to, in [0, 1] units; None = it does not."""

    def fit(self, victim: Victim, datamodule: Any) -> None:
        """Learn the state of the defense and its parts; most have none.

        The learned state is in `state_dict`.

        Args:
            victim: victim to defend.
            datamodule: data at hand.
        """
        for part in self.children():
            if isinstance(part, Defense):
                part.fit(victim, datamodule)

    @abstractmethod
    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Compute the prediction as deployed.

        Args:
            x: images (N, C, H, W) in [0, 1].
            victim: frozen victim.
            seeds: int64 (N,).
        """

    def proxy(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Compute the prediction that an adaptive attacker differentiates; by default `forward`."""
        return self(x, victim, seeds=seeds)

    def view(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the victim's input (one copy of it) at the size of `x`, for pictures."""
        return x

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of settings, code and learned state."""
        state = digest_tensors(self.state_dict())
        return digest([self.settings, *self.code_digests(), state])


class Purifier(Defense):
    """Changes the image before the victim; the adaptive gradient is exact by default."""

    chosen: str = ""
    """Name of the derivative in a copy made by `stand_ins`; empty for the default."""

    @abstractmethod
    def purify(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to purified images in [0, 1]."""

    def derivatives(self) -> dict[str, Derivative]:
        """Return the functions whose derivative may stand for that of `purify`, by name.

        The first is the default. Each takes the arguments of `purify`, and returns a tensor of its
        shape, of which only the derivative is used.
        """
        return {"exact": self.purify, "identity": unchanged}

    def differentiable(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute `purify`, bit for bit, with the chosen derivative.

        Raises:
            StandInError: that of an image of another shape.
        """
        near = self._derivative()
        if near == self.purify:
            return self.purify(x, seeds=seeds)
        with torch.no_grad():
            purified = self.purify(x.detach(), seeds=seeds)
        approximate = near(x, seeds=seeds)
        if approximate.shape != purified.shape:  # a sum might broadcast, to another answer
            name = self.chosen or next(iter(self.derivatives()))
            raise StandInError(
                f"{type(self).__name__}: the stand-in {name} answers {tuple(approximate.shape)}, "
                f"purify {tuple(purified.shape)}; override derivatives() with ones of that shape"
            )
        return purified + (approximate - approximate.detach())  # adds zero

    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Return the victim's prediction for the purified image."""
        return victim.predict(self.purify(x, seeds=seeds))

    def proxy(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Compute the deployed prediction with the chosen derivative."""
        if self._derivative() == self.purify:
            return self(x, victim, seeds=seeds)
        return victim.predict(self.differentiable(x, seeds=seeds))

    def _derivative(self) -> Derivative:
        known = self.derivatives()
        return known[self.chosen or next(iter(known))]

    def view(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return the purified image."""
        return self.purify(x, seeds=seeds)


def unchanged(x: Tensor, *, seeds: Tensor) -> Tensor:
    """Return the image: the straight-through stand-in of any purifier that keeps its shape."""
    return x


class StraightThroughPurifier(Purifier):
    """A purifier without a useful gradient, attacked by a straight-through estimator.

    This is BPDA (Athalye, Carlini and Wagner 2018): the forward pass is the purifier, the backward
    pass that of `stand_in`, by default the identity.
    """

    def stand_in(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute a differentiable approximation of `purify`; only its derivative is used."""
        return x

    def derivatives(self) -> dict[str, Derivative]:
        """Return `smooth`, the class's own `stand_in`, if it has one, and `identity`."""
        if type(self).stand_in is StraightThroughPurifier.stand_in:
            return {"identity": unchanged}
        return {"smooth": self.stand_in, "identity": unchanged}


class Smoother(Defense):
    """Votes over sampled copies of the image.

    Args:
        copies: copies per image.
        chunk: copies per forward pass; bounds memory, does not change the result.
    """

    random = True
    unscientific = ("chunk",)
    dense: ClassVar[bool] = False
    """True if it also votes on masks, pixel by pixel."""

    def __init__(self, copies: int, *, chunk: int = 512) -> None:
        super().__init__()
        self.copies = whole(copies, "defense.copies", low=1)
        self.chunk = whole(chunk, "defense.chunk", low=1)

    @abstractmethod
    def sample(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Draw one copy of each image, (N, C, H, W) in [0, 1], differentiable in `x`."""

    @abstractmethod
    def decide(self, counts: Tensor) -> Prediction:
        """Return the prediction for votes (N, K), or (N, K, H, W) on masks, int64."""

    def proxy(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Return the victim's prediction for one copy; the threat averages over copies (EOT)."""
        return victim.predict(self.sample(x, seeds=seeds))

    def view(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        """Return one copy."""
        return self.sample(x, seeds=seeds)

    @torch.no_grad()
    def forward(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Prediction:
        """Return the decision on the votes of the copies, batched over images and copies."""
        if len(x) == 0:
            raise ValueError("a vote over an empty batch has no classes; give at least one image")
        return self.decide(self.count(x, victim, seeds=seeds))

    def count(self, x: Tensor, victim: Victim, *, seeds: Tensor) -> Tensor:
        """Count the votes (N, K[, H, W]) of all `copies`, int64."""
        return self.tally(x, victim, seeds=seeds, first=0, last=self.copies)

    def tally(self, x: Tensor, victim: Victim, *, seeds: Tensor, first: int, last: int) -> Tensor:
        """Count the votes (N, K[, H, W]) of copies `first` to `last`, int64; see `ballots`."""
        counts: Tensor | None = None
        for image, logits in self.ballots(x, victim, seeds=seeds, first=first, last=last):
            if counts is None:
                shape = len(x), *logits.shape[1:]
                counts = torch.zeros(shape, dtype=torch.int64, device=x.device)
            vote = logits.argmax(1)
            for number, votes in enumerate(counts.unbind(1)):
                votes.index_add_(0, image, (vote == number).long())
        assert counts is not None
        return counts

    def ballots(
        self, x: Tensor, victim: Victim, *, seeds: Tensor, first: int, last: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the victim's logits on copies `first` to `last` of every image, image by image.

        Copy i is drawn from `fold_in(seeds, i)`, independent of the batch.

        Args:
            x: images (N, C, H, W) in [0, 1].
            victim: frozen victim.
            seeds: int64 (N,).
            first: number of the first copy.
            last: one past the last.

        Yields:
            The image (M,) and logits (M, K[, H, W]) of at most `chunk` copies.

        Raises:
            ValueError: the victim predicts masks, but the defense votes on classes.
        """
        total = len(x) * (last - first)
        for start in range(0, total, self.chunk):
            place = torch.arange(start, min(start + self.chunk, total), device=x.device)
            image, copy = place // (last - first), first + place % (last - first)
            logits = victim(self._copies(x, image, fold_in(seeds[image], copy)))
            if logits.ndim != 2 and not self.dense:
                raise ValueError(
                    f"{type(self).__name__} votes on classes, not on masks; set defense=medrdf_seg"
                )
            yield image, logits

    def _copies(self, x: Tensor, image: Tensor, seeds: Tensor) -> Tensor:
        """Draw one copy of `x[image]` for each seed, a few at a time on a CPU."""
        if x.device.type != "cpu":
            return self.sample(x[image], seeds=seeds)
        at_once = max(8, _CACHED // (x[0].numel() * x.element_size()))
        copies: Tensor | None = None
        for at in range(0, len(image), at_once):
            part = self.sample(x[image[at : at + at_once]], seeds=seeds[at : at + at_once])
            if copies is None:
                copies = part.new_empty(len(image), *part.shape[1:])
            copies[at : at + at_once] = part
        assert copies is not None
        return copies
