"""The same attacks in torchattacks, foolbox, ART and adv-lib, with identical settings.

Defaults that differ between the libraries, and are therefore always given here:

- step size: ours null = eps / steps (BIM, MIM) or min(eps, 2.5 eps / steps) (PGD); torchattacks
  alpha = 2/255 (L2: 0.2 for eps 1) whatever eps; foolbox eps / 5 (BIM), eps / 30 (PGD),
  eps / 40 (L2); ART 0.1 whatever eps; adv-lib eps / 30.
- steps: torchattacks 10; foolbox 10 (BIM), 40 (PGD), 50 (L2); ART 100; adv-lib 40; ours has no
  default in Python.
- what is returned: torchattacks, foolbox and ART return the last iterate, adv-lib the last one
  that was fooled before the last step and else the clean image, ours the best one that was
  stepped to.
- random start in L2: torchattacks draws the radius uniformly; foolbox and ours draw uniformly in
  the ball. ART starts at the clean image unless told otherwise.
- FGSM in ART is one step of the size eps, unless a minimal step is asked for.
- momentum: foolbox accumulates raw gradients and has no L1 normalisation, so its MI-FGSM is
  another attack and is not compared.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.external import External
from medrobust.attack.fgsm import FGSM
from medrobust.attack.mim import MIM
from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.model.core.victim import Victim
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.peers import adv_lib

COUNT = 200
EPS, ALPHA, STEPS = 4 / 255, 1 / 255, 10
L2, L2_ALPHA, L2_STEPS = 0.35, 0.07, 25  # enough to forget starts that are drawn differently
Batch = tuple[VictimSurrogate, Tensor, Tensor, Tensor]


NAMES = {
    "torchattacks": "torchattacks.",
    "foolbox": "foolbox.attacks.",
    "art": "art.attacks.evasion.",
    "adv_lib": "adv_lib.attacks.",
}


def peer(library: str, name: str, eps: float, norm: str = "linf", **arguments: object) -> Attack:
    if library == "adv_lib":
        adv_lib()
    pytest.importorskip(library)
    return External(
        f"medrobust.attack.adapter.{library}.run",
        arguments={"attack": NAMES[library] + name, "eps": eps, **arguments},
        eps=eps,
        norm=norm,
    )


@pytest.fixture(scope="module")
def batch(surrogate: VictimSurrogate, images: Tensor, labels: Tensor, seeds: Tensor) -> Batch:
    return surrogate, images, labels, seeds


def judge(victim: Victim, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and correctness per image."""
    with torch.no_grad():
        logits = victim(x)
    return F.cross_entropy(logits, y, reduction="none"), logits.argmax(1) == y


def apart(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().flatten(1).amax(1)


PAIRS: dict[str, tuple[Attack, Callable[[], Attack]]] = {
    "fgsm_torchattacks": (FGSM(EPS), lambda: peer("torchattacks", "FGSM", EPS)),
    "fgsm_foolbox": (FGSM(EPS), lambda: peer("foolbox", "FGSM", EPS)),
    "fgsm_art": (
        FGSM(EPS),
        lambda: peer("art", "FastGradientMethod", EPS, batch_size=COUNT),
    ),
    "bim_art": (
        BIM(EPS, steps=STEPS, step_size=ALPHA),
        lambda: peer(
            "art",
            "BasicIterativeMethod",
            EPS,
            eps_step=ALPHA,
            max_iter=STEPS,
            batch_size=COUNT,
            verbose=False,
        ),
    ),
    "bim_torchattacks": (
        BIM(EPS, steps=STEPS, step_size=ALPHA),
        lambda: peer("torchattacks", "BIM", EPS, alpha=ALPHA, steps=STEPS),
    ),
    "bim_foolbox": (
        BIM(EPS, steps=STEPS, step_size=ALPHA),
        lambda: peer("foolbox", "LinfBasicIterativeAttack", EPS, abs_stepsize=ALPHA, steps=STEPS),
    ),
    "mim_torchattacks": (
        MIM(EPS, steps=STEPS, step_size=ALPHA, decay=0.7),
        lambda: peer("torchattacks", "MIFGSM", EPS, alpha=ALPHA, steps=STEPS, decay=0.7),
    ),
}


@pytest.mark.parametrize(("ours", "theirs"), PAIRS.values(), ids=PAIRS.keys())
def test_deterministic_attacks_give_the_same_images(
    ours: Attack, theirs: Callable[[], Attack], batch: Batch
) -> None:
    """Equal to 1e-6 but for pixels of nearly no gradient, whose sign is a matter of rounding.

    Where the last iterate is not the best one, ours is no worse instead, up to such pixels.
    """
    surrogate, x, y, seeds = batch
    found = ours(surrogate, x, y, seeds=seeds)
    other = theirs()(surrogate, x, y, seeds=seeds)
    same = ((found - other).abs() <= 1e-6).flatten(1).float().mean(1) > 0.99
    loss, correct = judge(surrogate.victim, found, y)
    their_loss, their_correct = judge(surrogate.victim, other, y)
    ahead = ~correct & their_correct | (correct == their_correct) & (loss >= 0.99 * their_loss)
    assert (same | ahead).all()
    assert same.float().mean() > (0.98 if isinstance(ours, FGSM) else 0.75)


def margin_pgd(model: torch.nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """PGD on the margin in plain torch, as in Madry's challenge: last iterate, kappa 50."""
    x = (images + EPS * (2 * torch.rand_like(images) - 1)).clamp(0, 1)
    for _ in range(STEPS):
        x = x.detach().requires_grad_()
        logits = model(x)
        mine = F.one_hot(labels, logits.shape[1])
        right, wrong = (mine * logits).sum(1), ((1 - mine) * logits - 1e4 * mine).amax(1)
        (grad,) = torch.autograd.grad(-F.relu(right - wrong + 50).sum(), x)
        x = x + ALPHA * grad.sign()
        x = torch.min(torch.max(x, images - EPS), images + EPS).clamp(0, 1)
    return x


STRENGTH: dict[str, tuple[Attack, Callable[[], Attack]]] = {
    "pgd_torchattacks": (
        PGD(EPS, steps=STEPS, step_size=ALPHA),
        lambda: peer("torchattacks", "PGD", EPS, alpha=ALPHA, steps=STEPS),
    ),
    "pgd_foolbox": (
        PGD(EPS, steps=STEPS, step_size=ALPHA),
        lambda: peer("foolbox", "LinfPGD", EPS, abs_stepsize=ALPHA, steps=STEPS),
    ),
    "pgd_art": (
        PGD(EPS, steps=STEPS, step_size=ALPHA),
        lambda: peer(
            "art",
            "ProjectedGradientDescent",
            EPS,
            eps_step=ALPHA,
            max_iter=STEPS,
            num_random_init=1,
            batch_size=COUNT,
            verbose=False,
        ),
    ),
    "pgd_adv_lib": (
        PGD(EPS, steps=STEPS, step_size=ALPHA),
        # its last step is taken but never looked at
        lambda: peer("adv_lib", "pgd_linf", EPS, absolute_step_size=ALPHA, steps=STEPS + 1),
    ),
    "pgd_l2_torchattacks": (
        PGDL2(L2, steps=L2_STEPS, step_size=L2_ALPHA),
        lambda: peer("torchattacks", "PGDL2", L2, "l2", alpha=L2_ALPHA, steps=L2_STEPS),
    ),
    "pgd_l2_foolbox": (
        PGDL2(L2, steps=L2_STEPS, step_size=L2_ALPHA),
        lambda: peer("foolbox", "L2PGD", L2, "l2", abs_stepsize=L2_ALPHA, steps=L2_STEPS),
    ),
    "cw_linf_plain": (
        CWLinf(EPS, steps=STEPS, step_size=ALPHA),
        lambda: External(margin_pgd, eps=EPS),
    ),
}


@pytest.mark.parametrize(("ours", "theirs"), STRENGTH.values(), ids=STRENGTH.keys())
def test_random_attacks_are_as_strong(
    ours: Attack, theirs: Callable[[], Attack], batch: Batch
) -> None:
    """The mean loss within 3 % of theirs, or higher, and as many images left, up to 3 %."""
    surrogate, x, y, seeds = batch
    other = theirs()(surrogate, x, y, seeds=seeds)
    found = ours(surrogate, x, y, seeds=seeds)
    loss, correct = judge(surrogate.victim, found, y)
    their_loss, their_correct = judge(surrogate.victim, other, y)
    assert 0.1 < their_correct.float().mean() < 0.9  # a comparison that can tell
    assert loss.mean() > 0.97 * their_loss.mean()
    assert abs(correct.float().mean() - their_correct.float().mean()) < 0.03  # the same attack


def test_without_its_start_pgd_is_the_peers_to_the_pixel(batch: Batch) -> None:
    """From the clean image both walk the same way; in L2 up to rounding."""
    surrogate, x, y, seeds = batch

    class FromClean(PGDL2):
        random_start = False

    found = FromClean(L2, steps=STEPS, step_size=L2_ALPHA)(surrogate, x, y, seeds=seeds)
    other = peer(
        "torchattacks", "PGDL2", L2, "l2", alpha=L2_ALPHA, steps=STEPS, random_start=False
    )(surrogate, x, y, seeds=seeds)
    assert (apart(found, other) < 1e-5).float().mean() > 0.75
