"""Check that the attack was strong enough to be trusted: measurements, and the flags they raise.

The checks follow Carlini et al. (2019) and the ones of AutoAttack: a strong result for a defense
means little if the attack had no gradient, spent no budget, or did not even fool its surrogate.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medrobust.attack.core.base import Attack
from medrobust.attack.core.goal import Goal
from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.norm import distance
from medrobust.attack.criterion.by_task import by_task
from medrobust.attack.loss.by_task import ByTask
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.core.base import Defense
from medrobust.evaluation.batches.batches import Batch
from medrobust.evaluation.batches.diagnosis import check_finite
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.gradient_cosine import (
    IMAGES,
    defended,
    deviation,
    follows_gradients,
    gradient_cosines_once,
)
from medrobust.result.flag import Flag, flag
from medrobust.threat.surrogate import Surrogate

GRADIENT_IMAGES = 256  # images whose gradient is checked: one pass, whatever the attack costs

_MEDIAN = math.sqrt(math.pi / 2)
"""Standard error of a median in units of that of a mean."""


@dataclass(frozen=True)
class _Check:
    """Looks at a batch before and after the attack.

    Attributes:
        surrogate: what the attacker saw.
        attack: that crafted.
        adversarial: the whole attacked set, on the host.
    """

    surrogate: Surrogate
    attack: Attack
    adversarial: Tensor

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Return `before`, `after`: right or not; `zero`: no gradient, of the first images.

        Behind a defense also `cosine` of the first few images; see `gradient_cosines`.

        Raises:
            FloatingPointError: a logit or gradient is not finite.
        """
        x, y, words = batch.images, batch.labels, batch.seeds
        number, ids = batch.number, batch.ids
        attacked = self.adversarial[batch.first : batch.first + len(x)].to(x.device)
        rule = by_task(y, self.attack.criterion)
        with torch.no_grad():
            before, after = self.surrogate(x, words), self.surrogate(attacked, words)
        check_finite(before.logits, "the surrogate's logits", number, ids)
        check_finite(after.logits, "the surrogate's logits under attack", number, ids)
        seen = {"before": ~rule.away(before, y), "after": ~rule.away(after, y)}
        few = max(0, IMAGES - batch.first)
        if few and defended(self.surrogate) and follows_gradients(self.attack):
            seen["cosine"] = gradient_cosines_once(
                self.surrogate, self.attack, x[:few], y[:few], words[:few]
            )
        most = GRADIENT_IMAGES - batch.first
        if most <= 0 or not self.surrogate.differentiable:
            return seen
        x, y, words = x[:most], y[:most], words[:most]
        # A loss on features is bound to its own batch; the gradient's absence shows in the
        # plain loss too.
        loss = self.attack.loss
        loss = ByTask() if loss.taps else loss
        goal = Goal(loss.bind(self.surrogate, x, y, words, targeted=False), rule, y)
        grad = self.surrogate.value_and_grad(x, goal, seeds=words).grad
        check_finite(grad, "the surrogate's gradients", number, ids[:most])
        # A hinge, such as the margin up to kappa, has none where the image is wrong already.
        return seen | {"zero": (grad == 0).flatten(1).all(dim=1) & seen["before"][:most]}


def craft_checks(
    surrogate: Surrogate,
    attack: Attack,
    clean: ImageSet,
    adversarial: Tensor,
    seeds: Tensor,
    runner: Runner,
) -> dict[str, float]:
    """Measure an adversarial set on the surrogate that it was made on.

    Returns:
        `surrogate_clean`, `surrogate_adversarial`: share of images that the surrogate gets right
        (segmentation: Jaccard >= 0.5, or another level that the attack's `success` names;
        detection: half of the boxes found) before and after;
        `zero_gradient`: share of images that the surrogate gets right and whose input gradient is
        zero everywhere at the clean image, where the surrogate has gradients;
        `gradient_cosine`: of an attack on the gradients of a defended surrogate, the median over at
        most 16 images of `gradient_cosines`, where one is defined, and `gradient_cosine_error`, the
        standard error that the median would have if the two gradients were unrelated;
        `linf_median`, `linf_max`, `l2_median`, `l2_max`: budget used, in [0, 1] pixel units;
        `linf_median_right`, `l2_median_right`: the median over the images that the surrogate gets
        right before, if any: an ensemble returns the others as they are.

    Raises:
        FloatingPointError: NaN or infinite logits or gradients; names the batch and the images.
    """
    found = runner.here().map(_Check(surrogate, attack, adversarial), clean, seeds)
    checks = {
        "surrogate_clean": _share(found["before"]),
        "surrogate_adversarial": _share(found["after"]),
    }
    if "zero" in found:
        checks["zero_gradient"] = _share(found["zero"])
    cosine = found.get("cosine", torch.empty(0))
    cosine = cosine[cosine.isfinite()]
    if len(cosine):
        checks["gradient_cosine"] = cosine.quantile(0.5).item()
        error = deviation(clean.images[0].numel()) / math.sqrt(len(cosine))
        checks["gradient_cosine_error"] = error * (_MEDIAN if len(cosine) > 2 else 1.0)
    for norm in ("linf", "l2"):
        used = distance(clean.images, adversarial, norm)
        checks[f"{norm}_median"] = used.median().item()
        checks[f"{norm}_max"] = used.max().item()
        if found["before"].any():
            checks[f"{norm}_median_right"] = used[found["before"]].median().item()
    return checks


def coarsest_quantization(surrogate: Surrogate) -> float | None:
    """Return the largest quantization step in the defense that a surrogate holds.

    Returns:
        The step in [0, 1] pixel units; None without a defense, or if no part of it quantizes.
    """
    parts = [part for part in surrogate.modules() if isinstance(part, Defense)]
    return max((step for part in parts if (step := part.quantization_step)), default=None)


def flags(
    checks: dict[str, float],
    attack: Attack,
    *,
    random: bool = False,
    quantization: float | None = None,
) -> list[Flag]:
    """Return the failed checks.

    Args:
        checks: of `craft_checks`.
        attack: that crafted.
        random: the surrogate is randomized.
        quantization: of `coarsest_quantization`.
    """
    found: list[Flag] = []
    if attack.eps is None and checks["linf_max"] == 0:
        return found  # no attack; one that has a budget and cannot move is flagged below
    if checks.get("zero_gradient", 0.0) > 0.05:
        found.append(flag("zero_gradient", share=checks["zero_gradient"]))
    if random and attack.single_draw:
        found.append(flag("single_draw", attack=type(attack).__name__))
    before, after = checks["surrogate_clean"], checks["surrogate_adversarial"]
    if before < 0.5:
        found.append(flag("weak_surrogate", share=before))
    bounded = attack.eps if attack.fills_budget and before > 0 else None
    median = f"{attack.norm}_median"
    used = checks.get(f"{median}_right", checks[median])  # older entries have the latter alone
    if bounded is not None and used < 0.5 * bounded:
        found.append(flag("unused_budget", share=used / bounded, norm=attack.norm))
    if attack.fools and after > 0.9 * before:
        found.append(flag("surrogate_not_fooled", before=before, after=after))
    cosine, error = (checks.get(f"gradient_cosine{end}") for end in ("", "_error"))
    if cosine is not None and error is not None and cosine < 2 * error:
        found.append(flag("unrelated_gradient", cosine=cosine, error=error))
    if quantization is not None and isinstance(attack, Iterated):
        step = attack.largest_step
        # A step of the whole radius is as long as one can be that starts from the clean image.
        if step < min(quantization / 2, attack.eps):
            found.append(flag("step_below_quantization", step=step, quantization=quantization))
    return found


def _share(hits: Tensor) -> float:
    return hits.float().mean().item()
