"""Check that the attack was strong enough to be trusted: measurements, and the flags they raise.

The checks follow Carlini et al. (2019) and the ones of AutoAttack: a strong result for a defense
means little if the attack had no gradient, spent no budget, or did not even fool its surrogate.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from medrobust.attack.core.base import Attack, distance
from medrobust.attack.core.goal import Goal
from medrobust.attack.criterion.by_task import by_task
from medrobust.attack.loss.by_task import ByTask
from medrobust.data.core.image_set import ImageSet
from medrobust.evaluation.batches.batches import Batch
from medrobust.evaluation.batches.diagnosis import check_finite
from medrobust.evaluation.batches.runner import Runner
from medrobust.result.flag import Flag, flag
from medrobust.threat.surrogate import Surrogate

GRADIENT_IMAGES = 256  # images whose gradient is checked: one pass, whatever the attack costs


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
        `linf_median`, `linf_max`, `l2_median`, `l2_max`: budget used, in [0, 1] pixel units.

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
    for norm in ("linf", "l2"):
        used = distance(clean.images, adversarial, norm)
        checks[f"{norm}_median"] = used.median().item()
        checks[f"{norm}_max"] = used.max().item()
    return checks


def flags(checks: dict[str, float], attack: Attack, *, random: bool = False) -> list[Flag]:
    """Return the failed checks.

    Args:
        checks: of `craft_checks`.
        attack: that crafted.
        random: the surrogate is randomized.
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
    bounded = attack.eps if attack.fills_budget else None
    used = checks[f"{attack.norm}_median"]
    if bounded is not None and used < 0.5 * bounded:
        found.append(flag("unused_budget", share=used / bounded, norm=attack.norm))
    if after > 0.9 * before:
        found.append(flag("surrogate_not_fooled", before=before, after=after))
    return found


def _share(hits: Tensor) -> float:
    return hits.float().mean().item()
