"""Every gradient attack on a detector: in the ball, the same in any batch, stronger with steps."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from medrobust.attack.apgd_ce import APGDCE
from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack, AttackError
from medrobust.attack.core.goal import Goal
from medrobust.attack.criterion.boxes_lost import BoxesLost
from medrobust.attack.criterion.every_anchor import EveryAnchor, right_anchors
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.dag import DAG
from medrobust.attack.ddn import DDN
from medrobust.attack.deepfool import DeepFool
from medrobust.attack.dim import DIM
from medrobust.attack.fgsm import FGSM
from medrobust.attack.loss.active_pixels import ActivePixels
from medrobust.attack.loss.by_task import ByTask
from medrobust.attack.loss.core.disagreement import disagreement
from medrobust.attack.loss.margin import Margin
from medrobust.attack.loss.retinanet import RetinaNetLoss
from medrobust.attack.mim import MIM
from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.attack.sini_fgsm import SINIFGSM
from medrobust.attack.smia import SMIA
from medrobust.attack.square import Square
from medrobust.attack.target.most_likely import MostLikely
from medrobust.attack.target.next_class import NextClass
from medrobust.attack.tim import TIM
from medrobust.attack.vmi_fgsm import VMIFGSM
from medrobust.box.loss import retinanet_loss
from medrobust.box.matching import anchor_classes, share_found
from medrobust.defense.gaussian_smoothing import GaussianSmoothing
from medrobust.defense.none import NoDefense
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.blackbox import BlackBox
from tests.support.boxes import (
    CLASSES,
    answered,
    detector,
    pictures,
    random_boxes,
    seeds,
    surrogate,
)

EPS = 8 / 255
ATTACKS: dict[str, Callable[[], Attack]] = {
    "fgsm": lambda: FGSM(EPS),
    "bim": lambda: BIM(EPS, steps=3),
    "pgd": lambda: PGD(EPS, steps=3),
    "pgd_early": lambda: PGD(EPS, steps=3, early_stop=True),
    "pgd_l2": lambda: PGDL2(2.0, steps=3),
    "mim": lambda: MIM(EPS, steps=3),
    "dim": lambda: DIM(EPS, steps=3),
    "tim": lambda: TIM(EPS, steps=3, kernel_size=3),
    "vmi_fgsm": lambda: VMIFGSM(EPS, steps=3, neighbours=2),
    "sini_fgsm": lambda: SINIFGSM(EPS, steps=3, copies=2),
    "apgd_ce": lambda: APGDCE(EPS, steps=4),
    "smia": lambda: SMIA(EPS, steps=3),
    "smia_through": lambda: SMIA(EPS, steps=3, through_smoothed=True),
    "dag": lambda: DAG(EPS, steps=3),
    "dag_likely": lambda: DAG(EPS, steps=3, labels=MostLikely()),
}
X, Y, SEEDS = pictures(), answered(), seeds()


def loss(images):
    with torch.no_grad():
        return retinanet_loss(detector().predict(images), Y)


@pytest.mark.by_default("dag", "pgd", "smia", "dim")
@pytest.mark.parametrize("name", ATTACKS)
def test_in_any_batch_and_stronger_than_nothing(name):
    attack = ATTACKS[name]()
    made = attack(surrogate(), X, Y, seeds=SEEDS)
    assert not torch.equal(made, X)
    few = torch.tensor([4, 1])
    part = ATTACKS[name]()(surrogate(), X[few], Y[few], seeds=SEEDS[few])
    assert torch.allclose(part, made[few], atol=2e-3 if "l2" in name else 1e-6)
    if not name.startswith("dag"):
        assert loss(made).mean() > loss(X).mean()
    assert torch.equal(X, pictures())


def test_ddn_returns_an_image_that_loses_boxes_or_the_clean_one():
    made = DDN(steps=30, init_norm=4.0, gamma=0.1)(surrogate(), X, Y, seeds=SEEDS)
    with torch.no_grad():
        won = BoxesLost().away(detector().predict(made), Y)
    changed = (made != X).flatten(1).any(1)
    assert torch.equal(changed, won)


@pytest.mark.by_default("DAG", "PGD")
@pytest.mark.parametrize("kind", [BIM, PGD, SMIA, DAG])
def test_more_steps_are_stronger(kind):
    weak, strong = (kind(EPS, steps=steps)(surrogate(), X, Y, seeds=SEEDS) for steps in (1, 12))
    if kind is DAG:
        left = [
            right_anchors(seen, anchor_classes(Y, seen.anchored.anchors)).sum()
            for seen in (detector().predict(weak), detector().predict(strong))
        ]
        assert left[1] < left[0]
    else:
        assert loss(strong).mean() > loss(weak).mean()


def test_the_default_loss_is_retinanets():
    seen = detector().predict(X)
    assert torch.equal(ByTask().away(seen, Y), retinanet_loss(seen, Y))
    assert torch.equal(RetinaNetLoss().toward(seen, Y), -retinanet_loss(seen, Y))
    boxes_alone = RetinaNetLoss(class_weight=0.0).away(seen, Y)
    assert torch.equal(boxes_alone, retinanet_loss(seen, Y, class_weight=0.0))


def test_smia_with_alpha_0_is_bim():
    made = SMIA(EPS, steps=3, alpha=0.0)(surrogate(), X, Y, seeds=SEEDS)
    assert torch.equal(made, BIM(EPS, steps=3)(surrogate(), X, Y, seeds=SEEDS))


def test_disagreement_by_hand_and_its_gradient():
    here, there = detector().predict(X), detector().predict(X.flip(0))
    classes = anchor_classes(Y, here.anchored.anchors)
    wanted = F.binary_cross_entropy(here.probability, there.probability, reduction="none")
    by_hand = wanted.flatten(1).sum(1) / (classes >= 0).sum(1)
    assert torch.allclose(disagreement(here, there, Y), by_hand, rtol=1e-4)
    leaf = here.logits.detach().requires_grad_()
    same = replace(here, logits=leaf)
    (grad,) = torch.autograd.grad(disagreement(same, here.rows(torch.Tensor.detach), Y).sum(), leaf)
    assert grad.abs().amax() < 1e-6  # least where both agree


# DAG ---------------------------------------------------------------------------------------


def test_dag_climbs_the_gaps_of_active_anchors():
    seen = detector().predict(X)
    bound = ActivePixels().bind(surrogate(), X, Y, SEEDS, targeted=False)
    found = bound.away(seen, Y)
    for n in range(len(X)):
        total, matched = 0.0, 0
        for a, c in enumerate(anchor_classes(Y, seen.anchored.anchors)[n].tolist()):
            if c < 0:
                continue
            matched += 1
            z = seen.logits[n, :, a]
            if z.argmax() == c and z[c].sigmoid() >= 0.05:
                other = int(bound.adversarial[n, a])
                assert other != c
                total += (z[other] - z[c]).item()
        assert found[n].item() == pytest.approx(total / matched, rel=1e-4, abs=1e-6)
    assert (found <= 0).all()
    assert torch.equal(bound.at(torch.tensor([2, 2])).adversarial, bound.adversarial[[2, 2]])


def test_dag_is_done_when_no_anchor_is_right():
    made = DAG(0.5, steps=60)(surrogate(), X, Y, seeds=SEEDS)
    seen = detector().predict(made)
    done = EveryAnchor().away(seen, Y)
    assert done.float().mean() > 0.5
    left = right_anchors(seen, anchor_classes(Y, seen.anchored.anchors))
    assert not left[done].any()
    assert left[~done].any(1).all()
    assert torch.equal(
        done, ActivePixels().bind(surrogate(), X, Y, SEEDS, targeted=False).away(seen, Y) == 0
    )


def test_every_anchor_of_a_target():
    seen = detector().predict(X[:1])
    logits = torch.full_like(seen.logits, -5.0)
    truth = random_boxes(2, 1, seed=0)[1:]
    classes = anchor_classes(truth, seen.anchored.anchors)
    at = (classes[0] >= 0).nonzero().flatten()
    logits[0, classes[0, at], at] = 1.0
    assert EveryAnchor().toward(replace(seen, logits=logits), truth).all()
    logits[0, :, at[0]] = -5.0
    assert not EveryAnchor().toward(replace(seen, logits=logits), truth).any()


# Around --------------------------------------------------------------------------------------


def test_what_is_not_defined_for_boxes_is_refused():
    for attack, what in (
        (DeepFool(1.0), "one label per image, this task is detection"),
        (CWLinf(EPS, steps=2), "leave attack.loss at null or set attack/loss=retinanet"),
        (PGD(EPS, steps=1, loss=Margin()), "PGD with Margin is defined for classification"),
        (PGD(EPS, steps=1, target=NextClass()), "set attack/target=null"),
    ):
        with pytest.raises(AttackError, match=what):
            attack(surrogate(), X, Y, seeds=SEEDS)
    with pytest.raises(AttackError, match="expected classes int64"):
        PGD(EPS, steps=1)(surrogate(), X, Y[..., :4], seeds=SEEDS)


def test_a_black_box_shows_scores_but_no_labels():
    attack = Square(4 * EPS, queries=60, loss=RetinaNetLoss())
    made = attack(BlackBox()(detector(), NoDefense()), X, Y, seeds=SEEDS)
    with torch.no_grad():
        before, after = (detector().predict(images) for images in (X, made))
    options = {"overlap": 0.5, "score": 0.3}
    assert share_found(after, Y, **options).mean() < share_found(before, Y, **options).mean()
    with pytest.raises(ValueError, match=r"set threat\.answer=scores"):
        BlackBox("labels")(detector(), NoDefense())(X, SEEDS)


def test_through_a_purifier_and_through_noise():
    for defense in (GaussianSmoothing(), BoxNoise()):
        seen = Adaptive(4)(detector(), defense)
        made = PGD(EPS, steps=2)(seen, X, Y, seeds=SEEDS)
        few = torch.tensor([3])
        part = PGD(EPS, steps=2)(seen, X[few], Y[few], seeds=SEEDS[few])
        assert torch.allclose(part, made[few], atol=1e-6)
        goal = Goal(ByTask(), BoxesLost(), Y)
        assert (
            seen.value(made, goal, seeds=SEEDS)[0].mean()
            > seen.value(X, goal, seeds=SEEDS)[0].mean()
        )


class BoxNoise(GaussianSmoothing):
    """Noise before the detector."""

    random = True

    def __init__(self) -> None:
        super().__init__()

    def purify(self, x, *, seeds):
        from medrobust.rng import normal

        return (x + 0.02 * normal(seeds, x.shape[1:]).to(x.dtype)).clamp(0, 1)


def test_the_mean_over_draws_is_of_probabilities_and_offsets():
    defense = BoxNoise()
    seen = Adaptive(3)(detector(), defense)
    with torch.no_grad():
        mean = seen(X, SEEDS)
        parts = list(seen._spread(X, SEEDS, ()))
    (part,) = parts
    draws = part.logits.view(3, len(X), *part.logits.shape[1:])
    assert torch.allclose(mean.probability, draws.sigmoid().mean(0), atol=1e-5)
    offsets = part.anchored.offsets.reshape(3, len(X), -1, 4).mean(0)
    assert torch.allclose(mean.anchored.offsets, offsets, atol=1e-5)


@pytest.mark.parametrize("wrong", [CLASSES, -2, 0.5])
def test_boxes_of_no_class_are_refused(wrong):
    y = Y.clone()
    y[2, 0, 0] = wrong
    with pytest.raises(AttackError, match=rf"labels \[{float(wrong)}\] of images \[2\]"):
        PGD(EPS, steps=1)(surrogate(), X, y, seeds=SEEDS)
