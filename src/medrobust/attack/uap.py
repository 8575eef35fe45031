"""UAP: one perturbation for all images, learned from training images."""

import math
from itertools import chain
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor

from medrobust.attack.core.ball import LinfBall
from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.options import LossOptions
from medrobust.number import fraction, whole
from medrobust.rng import fold_in, sample_seeds, uniform
from medrobust.threat.surrogate import Surrogate

if TYPE_CHECKING:
    from medrobust.data.core.image_set import ImageSet


class UAP(Attack):
    """Universal adversarial perturbation: x' = clip(x + delta, 0, 1) with the same delta for all.

    Moosavi-Dezfooli et al. 2017, "Universal Adversarial Perturbations", posed the problem and
    solved it with DeepFool, image after image. Here it is solved by stochastic gradient ascent,
    Shafahi et al. 2020, "Universal Adversarial Training", algorithm 2, the stronger and far
    cheaper of the two: delta = Proj(delta + a * sign(mean over a batch of grad min(loss, clip))),
    a falling linearly to 0. The clip keeps the images that are lost already from deciding where
    to go. Ascent ends in local optima, so it starts `restarts` times at random, and the delta
    that reaches the goal on most training images is kept.

    The gradient is taken at the clipped image and passed to delta as it is: a border that is
    black in every image would otherwise stop the value that was clipped there for good.

    Args:
        eps: L∞ radius in pixel units of [0, 1] images; a number or `8/255`.
        epochs: passes over the training images per restart, >= 1.
        batch: training images per step, >= 1.
        images: most training images to learn from, drawn by class; None = all.
        step_size: a at the start, in pixel units; None = eps / 4, or as much more as a start at
            one side of the ball needs to reach the other in few steps.
        clip: loss beyond which an image counts no more, in units of the loss; None = no
            clip. The paper has 9 for 1000 classes; with a few classes 2 is past the boundary.
        restarts: random starts, >= 1.
        seed: decides the starts, the drawn images and their order; the seeds of attacked images
            have no say.
        **options: `loss`, `target`, `criterion`; see `Attack`.
    """

    eps: float
    learns = True

    def __init__(
        self,
        eps: float | str,
        *,
        epochs: int,
        batch: int = 64,
        images: int | None = 1000,
        step_size: float | str | None = None,
        clip: float | None = 2.0,
        restarts: int = 4,
        seed: int = 0,
        **options: Unpack[LossOptions],
    ) -> None:
        super().__init__(eps, **options)
        self.epochs = whole(epochs, "attack.epochs", low=1)
        self.batch = whole(batch, "attack.batch", low=1)
        self.images = None if images is None else whole(images, "attack.images", low=1)
        self.restarts = whole(restarts, "attack.restarts", low=1)
        self.seed = whole(seed, "attack.seed")
        self.step_size = (
            None if step_size is None else fraction(step_size, "attack.step_size", above=True)
        )
        limit = float("1e9")
        self.clip = (
            torch.inf if clip is None else fraction(clip, "attack.clip", low=-limit, high=limit)
        )
        self.delta: Tensor | None = None

    def fit(self, surrogate: Surrogate, data: Any) -> None:
        """Learn the perturbation, for images of the shape that `data` has.

        Args:
            surrogate: what the attacker sees.
            data: datamodule; its training split is used.

        Raises:
            AttackError: the surrogate has no gradients, or a loss is not a number.
        """
        from medrobust.data.core.image_set import load  # needs Lightning, slow to import

        super().fit(surrogate, data)
        clean = load(data, "train", most=self.images, seed=self.seed)
        with torch.inference_mode(False), torch.no_grad():
            lesson = _Lesson(clean, surrogate, self.seed)
            self._check_input(surrogate, *lesson.at(torch.arange(1)))
            found = [self._ascend(surrogate, lesson, restart) for restart in range(self.restarts)]
        if any(math.isnan(value) for score, _ in found for value in score):
            raise AttackError("UAP: the loss is NaN; check the surrogate's logits and gradients")
        self.delta = max(found, key=lambda pair: pair[0])[1]

    def perturb(self, surrogate: Surrogate, x: Tensor, goal: Goal, *, seeds: Tensor) -> Tensor:
        """Adds the perturbation and clips.

        Raises:
            AttackError: nothing was learned yet, or for images of another shape.
        """
        if self.delta is None:
            raise AttackError("UAP has no perturbation yet: call fit(surrogate, data) first")
        if self.delta.shape != x.shape[1:]:
            raise AttackError(
                f"UAP was fitted on images {tuple(self.delta.shape)}, these are "
                f"{tuple(x.shape[1:])}: fit it on data of this shape"
            )
        return _moved(x, self.delta, self.eps)

    def _ascend(
        self, surrogate: Surrogate, lesson: "_Lesson", restart: int
    ) -> tuple[tuple[float, float], Tensor]:
        """(Share of training images that reach the goal, mean clipped loss), and the delta."""
        words = fold_in(lesson.seeds, restart)
        start = fold_in(sample_seeds(self.seed, ["uap"], words.device), restart)
        delta = self.eps * (2 * uniform(start, lesson.shape)[0] - 1)
        steps, step = self.epochs * math.ceil(len(words) / self.batch), 0
        first = self.step_size or max(self.eps / 4, 4 * self.eps / steps)
        for epoch in range(self.epochs):
            order = uniform(fold_in(words, epoch), (1,))[:, 0].argsort(stable=True)
            for part in order.split(self.batch):
                x, y, seeds = lesson.at(part)
                noise = fold_in(words[part], self.epochs + step)
                goal = self._goal(surrogate, x, y, seeds)
                seen = surrogate.value_and_grad(_moved(x, delta, self.eps), goal, seeds=noise)
                counts = (seen.loss < self.clip).view(-1, 1, 1, 1)
                direction = seen.grad.where(counts, 0.0).to(delta.dtype).mean(0).sign()
                delta += first * (1 - step / steps) * direction
                delta.clamp_(-self.eps, self.eps)
                step += 1
        return self._score(surrogate, lesson, delta), delta

    def _score(self, surrogate: Surrogate, lesson: "_Lesson", delta: Tensor) -> tuple[float, float]:
        reached, loss = [], []
        for part in torch.arange(len(lesson.seeds)).split(self.batch):
            x, y, seeds = lesson.at(part)
            goal = self._goal(surrogate, x, y, seeds)
            verdict = surrogate.value(_moved(x, delta, self.eps), goal, seeds=seeds)
            loss.append(verdict[0].double().clamp(max=self.clip))
            reached.append(verdict[1].double())
        return torch.cat(reached).mean().item(), torch.cat(loss).mean().item()


class _Lesson:
    """Training images on the host, handed out in the surrogate's dtype on its device."""

    def __init__(self, clean: "ImageSet", surrogate: Surrogate, seed: int) -> None:
        tensors = chain(surrogate.parameters(), surrogate.buffers())
        self._like = next(tensor for tensor in tensors if tensor.is_floating_point())
        self._clean = clean
        self.shape = clean.images.shape[1:]
        self.seeds = sample_seeds(seed, clean.ids, self._like.device)

    def at(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images, labels and seeds of some."""
        here = index.cpu()
        x, y = self._clean.images[here].to(self._like), self._clean.labels[here]
        return x, y.to(self._like.device), self.seeds[index]


def _moved(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    """`x + delta`, inside [0, 1] and the budget in the dtype of `x`."""
    ball = LinfBall(x, eps)
    return ball.shown(ball.project(ball.centre + delta.to(x.device)))
