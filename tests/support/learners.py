"""Small defenses that are trained, for tests of the frame around them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrobust.data.core.base import Sample
from medrobust.defense.core.learned import LearnedPurifier
from medrobust.training.defense.train import DefenseModule, TrainingSetup


class Mixer(LearnedPurifier):
    """Mixes the colours of each pixel; `gain` matters in training and later, `soft` later alone."""

    untrained = ("soft",)

    def __init__(
        self, name: str, checkpoint: str, seed: int = 0, *, gain: float = 1.0, soft: bool = False
    ) -> None:
        super().__init__(name, checkpoint, seed)
        self.gain, self.soft = gain, soft
        self.mix: nn.Module = nn.Identity()

    def build(self, channels: int) -> None:
        self.mix = nn.Conv2d(channels, channels, 1)

    def restore(self, x: Tensor, *, seeds: Tensor) -> Tensor:
        found = self.gain * self.mix(x)
        return found.sigmoid() if self.soft else found.clamp(0, 1)

    def training_module(self, setup: TrainingSetup) -> DefenseModule:
        return MixerModule(self, setup)


class Guard(Mixer):
    """One that is trained for a victim."""

    needs_victim = True


class MixerModule(DefenseModule):
    """Learns to remove noise; notes its batches, and may be interrupted before one of them."""

    stop_at: int | None = None
    error: type[BaseException] = RuntimeError

    def __init__(self, defense: Mixer, setup: TrainingSetup) -> None:
        super().__init__(defense, setup)
        self.seen: list[Tensor] = []

    def loss(self, batch: Sample) -> Tensor:
        if self.stop_at == len(self.seen):
            raise self.error
        assert self.defense.training
        assert self.victim is None or not self.victim.training
        self.seen.append(batch.image)
        noisy = batch.image + 0.1 * torch.randn_like(batch.image)
        return F.mse_loss(self.defense.restore(noisy, seeds=self.seeds(batch)), batch.image)

    def measure(self, batch: Sample) -> dict[str, Tensor]:
        found = self.defense.restore(batch.image, seeds=self.seeds(batch))
        with torch.enable_grad():  # as a measure under attack would
            x = batch.image.clone().requires_grad_()
            (grad,) = torch.autograd.grad(x.square().sum(), x)
        assert torch.equal(grad, 2 * batch.image)
        return {"loss": F.mse_loss(found, batch.image)}
