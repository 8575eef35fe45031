"""Adversarial weight perturbation of an objective of robust training."""

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.func import functional_call

from medrobust.model.core.victim import Victim
from medrobust.number import fraction
from medrobust.objective.core.base import Objective
from medrobust.objective.core.robust import RobustObjective

if TYPE_CHECKING:
    from medrobust.data.core.base import MedicalDataModule


class AWP(Objective):
    """The loss of another objective at adversarially perturbed weights.

    Wu et al. 2020, "Adversarial Weight Perturbation Helps Robust Generalization": min_w max_{v in
    V} L(w + v), V = {|v_l| <= γ |w_l| for every layer l}, with one step v_l = γ |w_l| ∇_l / |∇_l|
    (K2 = 1). Layers are weights of convolutions and linear layers; biases and batch norms are not
    perturbed, as in their code.

    The perturbed weights are a function of the weights, w + v with v held constant: the gradient is
    taken at w + v and applied to w, without changing a weight in between. The pass that computes v
    leaves batch-norm statistics unchanged. The perturbation starts in the first epoch (in their
    code after 10 epochs with TRADES, at once with adversarial training).

    Args:
        name: name in paths and tables.
        objective: the objective to wrap.
        gamma: γ, size of the perturbation relative to the weights, in (0, 1].
    """

    def __init__(self, name: str, *, objective: RobustObjective, gamma: float) -> None:
        super().__init__(name)
        if not isinstance(objective, RobustObjective):
            raise TypeError(
                f"objective.objective is {type(objective).__name__}; expected an objective that "
                "crafts images: adversarial_training, trades or mart"
            )
        self.objective = objective
        self.gamma = fraction(gamma, "objective.gamma", above=True)
        self.validation, self.val_metric = objective.validation, objective.val_metric

    def prepare(self, data: "MedicalDataModule") -> None:
        """Prepare the wrapped objective."""
        self.objective.prepare(data)

    def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        """Compute the wrapped objective's outer loss at the perturbed weights."""
        adversarial = self.objective.craft(victim, x, y, seeds=seeds)
        steps = self.perturbation(victim, x, adversarial, y)
        moved = {name: weight + steps[name] for name, weight in self._layers(victim).items()}
        network = partial(_with, victim, moved)
        return self.objective.outer(network, x, adversarial, y)

    def perturbation(
        self, victim: Victim, x: Tensor, adversarial: Tensor, y: Tensor
    ) -> dict[str, Tensor]:
        """Compute v, by the names of the victim's weights; zero for a layer without gradient.

        Args:
            victim: victim in training mode.
            x: clean images (N, C, H, W) in [0, 1].
            adversarial: adversarial images of the inner attack.
            y: labels.
        """
        layers = self._layers(victim)
        kept = {name: buffer.clone() for name, buffer in victim.named_buffers()}
        loss = self.objective.outer(partial(_with, victim, kept), x, adversarial, y)
        slopes = torch.autograd.grad(loss, list(layers.values()))
        return {
            name: self.gamma * weight.detach().norm() * slope / _floor(slope.norm())
            for (name, weight), slope in zip(layers.items(), slopes, strict=True)
        }

    @staticmethod
    def _layers(victim: Victim) -> dict[str, Tensor]:
        return {
            name: weight
            for name, weight in victim.named_parameters()
            if weight.ndim > 1 and weight.requires_grad
        }


def _with(victim: Victim, state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return the victim's logits with other weights or buffers."""
    return functional_call(victim, state, (x,))


def _floor(size: Tensor) -> Tensor:
    return size.clamp(min=torch.finfo(size.dtype).tiny)
