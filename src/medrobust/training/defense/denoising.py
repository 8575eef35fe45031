"""Training of the denoisers of denoised smoothing, with the victim's gradients or without."""

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.data.core.base import Sample
from medrobust.rng import fold_in, normal
from medrobust.training.defense.black_box import BlackBoxVictim
from medrobust.training.defense.train import DefenseModule, TrainingSetup

if TYPE_CHECKING:
    from medrobust.defense.denoiser.ds import DS
    from medrobust.defense.denoiser.zo_ds import ZODS

_NOISE, _DIRECTIONS = 0xD5, 0x2E
"""Seed tags of the noise and of the estimator's directions."""


class WarmStartError(ValueError):
    """Raised when the warm start leaves no epoch for the stability loss."""


class DenoisingModule(DefenseModule):
    """Minimises denoising loss + gamma · stability loss (Eq. 1); selects the epoch of the least.

    The stability loss is the cross-entropy between the victim's logits on the denoised noisy image
    and its class on the clean image, per pixel for a segmenter. No label is used. The first
    `warm_epochs` minimise the denoising loss alone, without the victim.

    Args:
        defense: denoiser whose networks are built.
        setup: setup of the training.
    """

    defense: "DS"

    @abstractmethod
    def answer(self, x: Tensor) -> Tensor:
        """Return the victim's logits of images (N, C, H, W) in [0, 1]."""

    @abstractmethod
    def stability(self, code: Tensor, goal: Tensor, seeds: Tensor) -> Tensor:
        """Compute the mean stability loss of codes, with a gradient to them.

        Args:
            code: codes (N, ...), decoded and classified.
            goal: classes of the clean images (N[, H, W]).
            seeds: int64 (N,), of this step.
        """

    def on_fit_start(self) -> None:
        """Check that there are epochs for the stability loss.

        Raises:
            WarmStartError: the warm start takes all epochs.
        """
        super().on_fit_start()
        warm, epochs = self.defense.warm_epochs, self.trainer.max_epochs
        if epochs is not None and 0 < epochs <= warm:
            raise WarmStartError(
                f"warm_epochs={warm} of trainer.max_epochs={epochs} leave none for the stability "
                f"loss; lower the defense's warm_epochs or raise trainer.max_epochs"
            )

    def loss(self, batch: Sample) -> Tensor:
        """Compute the loss of a batch under this epoch's noise."""
        how, x = self.defense, batch.image
        seeds = fold_in(self.seeds(batch), self.current_epoch)
        noisy = self.noisy(x, seeds)
        if self.current_epoch < how.warm_epochs:
            return how.warm_loss(noisy, x)
        denoised = how.denoise(noisy)
        stable = self.stability(how.encode(denoised), self.goal(x), fold_in(seeds, _DIRECTIONS))
        return F.mse_loss(denoised, x) + how.gamma * stable

    def measure(self, batch: Sample) -> dict[str, Tensor]:
        """Return Eq. 1, its parts, and the share of images whose class is unchanged."""
        how, x = self.defense, batch.image
        noisy = self.noisy(x, self.seeds(batch))
        denoised = how.denoise(noisy)
        found, goal = self.answer(how.decode(how.encode(denoised))), self.goal(x)
        error, stable = F.mse_loss(denoised, x), F.cross_entropy(found, goal)
        return {
            "loss": error + how.gamma * stable,
            "mse": error,
            "stability": stable,
            "agreement": (found.argmax(1) == goal).double().mean(),
        }

    def noisy(self, x: Tensor, seeds: Tensor) -> Tensor:
        """Add noise as for the smoothed classifier: x + N(0, sigma²), clipped to [0, 1]."""
        noise = normal(fold_in(seeds, _NOISE), x.shape[1:]).to(x.dtype)
        return (x + self.defense.sigma * noise).clamp(0, 1)

    @torch.no_grad()
    def goal(self, x: Tensor) -> Tensor:
        """Return the victim's classes of clean images (N[, H, W])."""
        return self.answer(x).argmax(1)


class FirstOrderModule(DenoisingModule):
    """Backpropagates through the victim, a white box."""

    def answer(self, x: Tensor) -> Tensor:
        """Return the victim's logits, with a graph to the image."""
        assert self.victim is not None
        found: Tensor = self.victim(x)
        return found

    def stability(self, code: Tensor, goal: Tensor, seeds: Tensor) -> Tensor:
        """Compute the mean stability loss with its exact gradient."""
        return F.cross_entropy(self.answer(self.defense.decode(code)), goal)


class ZerothOrderModule(DenoisingModule):
    """Only queries the victim; decoder and victim are the black box of Zhang et al. 2022.

    The zeroth-order gradient estimate at the code is backpropagated to the weights before it.

    Args:
        defense: denoiser whose networks are built.
        setup: setup of the training.
    """

    defense: "ZODS"

    def __init__(self, defense: "ZODS", setup: TrainingSetup) -> None:
        super().__init__(defense, replace(setup, victim=None))
        assert setup.victim is not None
        self.box = BlackBoxVictim(setup.victim)
        self._queries_before = 0

    @property
    def queries(self) -> int:
        """Return the number of images queried so far, on all devices."""
        mine = torch.tensor(self._queries_before + self.box.queries, device=self.device)
        return int(self.trainer.strategy.reduce(mine, reduce_op="sum"))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the number of queries to the checkpoint."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["queries"] = self.queries

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the number of queries."""
        super().on_load_checkpoint(checkpoint)
        self._queries_before = checkpoint["queries"] if self.trainer.is_global_zero else 0

    def answer(self, x: Tensor) -> Tensor:
        """Return the victim's logits, without a graph."""
        return self.box(x)

    def stability(self, code: Tensor, goal: Tensor, seeds: Tensor) -> Tensor:
        """Compute the mean stability loss, with an estimated gradient."""

        def query(points: Tensor, row: Tensor) -> Tensor:
            logits = self.box(self.defense.decode(points))
            loss = F.cross_entropy(logits, goal[row], reduction="none")
            return loss.flatten(1).mean(1) if loss.ndim > 1 else loss

        found = self.defense.estimator(query, code, seeds=seeds)
        slope = (found.grad * code).flatten(1).sum(1)
        return (found.value + slope - slope.detach()).mean()
