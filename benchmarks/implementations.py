"""The attacks that are compared: ours and those of other libraries, at the same settings."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from medrobust.attack.apgd_ce import APGDCE
from medrobust.attack.apgd_dlr import APGDDLR
from medrobust.attack.apgd_t import APGDT
from medrobust.attack.autoattack import AutoAttack
from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack
from medrobust.attack.cw_l2 import CWL2
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.ddn import DDN
from medrobust.attack.deepfool import DeepFool
from medrobust.attack.dim import DIM
from medrobust.attack.fab_t import FABT
from medrobust.attack.fgsm import FGSM
from medrobust.attack.fmn import FMN
from medrobust.attack.mim import MIM
from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.attack.sini_fgsm import SINIFGSM
from medrobust.attack.spsa import SPSA
from medrobust.attack.square import Square
from medrobust.attack.tim import TIM
from medrobust.attack.vmi_fgsm import VMIFGSM
from medrobust.model.core.victim import Victim
from medrobust.rng import sample_seeds
from medrobust.threat.reduced import ReducedPrecision
from medrobust.threat.surrogate import Surrogate, VictimSurrogate

Run = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Settings:
    """What all implementations are told.

    Attributes:
        eps: L∞ radius; the step is eps / 4.
        l2: L2 radius; the step is l2 / 5.
        steps: gradient steps of the fixed-budget attacks.
        queries: of Square.
        batch: images at once.
    """

    eps: float
    l2: float
    steps: int
    queries: int
    batch: int


@dataclass(frozen=True)
class Entry:
    """One row of the table.

    Attributes:
        attack: name of the attack.
        library: whose.
        passes: forward and gradient passes of its floor; for attacks without a fixed number, of
            the unit that all implementations are divided by.
        run: images and labels -> adversarial images.
        norm: of its budget or distance, `linf` or `l2`.
    """

    attack: str
    library: str
    passes: int
    run: Run
    norm: str = "linf"


def ours(victim: Victim, fast: Victim, s: Settings) -> Iterator[Entry]:
    """This package's attacks, with all their checks.

    Args:
        victim: plain, as the peers get it.
        fast: the same, accelerated, as evaluations run it.
        s: settings.
    """
    plain, quick = VictimSurrogate(victim), VictimSurrogate(fast)
    reduced = ReducedPrecision(quick)
    step: dict[str, Any] = {"steps": s.steps, "step_size": s.eps / 4}

    def entry(
        name: str, attack: Attack, passes: int, note: str = "", surrogate: Surrogate = quick
    ) -> Entry:
        def run(x: Tensor, y: Tensor) -> Tensor:
            seeds = sample_seeds(0, [str(i) for i in range(len(x))], x.device)
            parts = zip(x.split(s.batch), y.split(s.batch), seeds.split(s.batch), strict=True)
            return torch.cat([attack(surrogate, *part[:2], seeds=part[2]) for part in parts])

        return Entry(name, f"medrobust{note}", passes, run, attack.norm)

    yield entry("FGSM", FGSM(s.eps), 1)
    yield entry("BIM", BIM(s.eps, **step), s.steps)
    pgd, early = PGD(s.eps, **step), PGD(s.eps, **step, early_stop=True)
    yield entry("PGD", pgd, s.steps, ", plain victim", plain)
    yield entry("PGD", pgd, s.steps)
    yield entry("PGD", early, s.steps, ", early stop")
    yield entry("PGD", pgd, s.steps, ", bf16", reduced)
    yield entry("PGD", early, s.steps, ", bf16, early stop", reduced)
    yield entry("PGD-L2", PGDL2(s.l2, steps=s.steps, step_size=s.l2 / 5), s.steps)
    yield entry("MIM", MIM(s.eps, **step), s.steps)
    yield entry("CW-L∞", CWLinf(s.eps, **step), s.steps)
    yield entry("DIM", DIM(s.eps, **step), s.steps)
    yield entry("TIM", TIM(s.eps, **step), s.steps)
    yield entry("VMI-FGSM", VMIFGSM(s.eps, **step, neighbours=5), 6 * s.steps)
    yield entry("SINI-FGSM", SINIFGSM(s.eps, **step), 5 * s.steps)
    yield entry("APGD-CE", APGDCE(s.eps, steps=s.steps), s.steps)
    yield entry("APGD-DLR", APGDDLR(s.eps, steps=s.steps), s.steps)
    yield entry("APGD-T", APGDT(s.eps, steps=s.steps, early_stop=True), s.steps)
    yield entry("CW-L2", CWL2(steps=100, initial_const=1.0, binary_search_steps=1), 100)
    yield entry("DDN", DDN(steps=100), 100)
    yield entry("FMN-L2", FMN(norm="l2", steps=100), 100)
    yield entry("DeepFool", DeepFool(steps=50, candidates=None), 50)
    yield entry("FAB-T", FABT(s.eps, steps=20), 20)
    yield entry("Square", Square(s.eps, queries=s.queries), s.queries // 3)
    yield entry("SPSA", SPSA(s.eps, samples=128, steps=1), 128 // 3)
    yield entry("AutoAttack", AutoAttack(s.eps), 100)


def peers(victim: Victim, s: Settings) -> Iterator[Entry]:
    """The same settings in the libraries that are installed."""
    for name, entries in (
        ("torchattacks", _torchattacks),
        ("foolbox", _foolbox),
        ("adv_lib", _adv_lib),
        ("pyautoattack", _pyautoattack),
    ):
        if find_spec(name):
            yield from entries(victim, s)


def _batched(run: Run, batch: int) -> Run:
    def whole(x: Tensor, y: Tensor) -> Tensor:
        parts = zip(x.split(batch), y.split(batch), strict=True)
        return torch.cat([run(*part) for part in parts])

    return whole


def _torchattacks(victim: Victim, s: Settings) -> Iterator[Entry]:
    import torchattacks as ta

    def entry(name: str, attack: Run, passes: int, norm: str = "linf") -> Entry:
        return Entry(name, "torchattacks", passes, _batched(attack, s.batch), norm)

    step: dict[str, Any] = {"eps": s.eps, "alpha": s.eps / 4, "steps": s.steps}
    yield entry("FGSM", ta.FGSM(victim, eps=s.eps), 1)
    yield entry("BIM", ta.BIM(victim, **step), s.steps)
    yield entry("PGD", ta.PGD(victim, **step), s.steps)
    yield entry("PGD-L2", ta.PGDL2(victim, s.l2, s.l2 / 5, s.steps), s.steps, "l2")
    yield entry("MIM", ta.MIFGSM(victim, **step), s.steps)
    yield entry("DIM", ta.DIFGSM(victim, **step, decay=1.0), s.steps)
    yield entry("TIM", ta.TIFGSM(victim, **step, decay=1.0, diversity_prob=0.0), s.steps)
    yield entry("VMI-FGSM", ta.VMIFGSM(victim, **step, N=5), 6 * s.steps)
    yield entry("SINI-FGSM", ta.SINIFGSM(victim, **step), 5 * s.steps)
    yield entry("APGD-CE", ta.APGD(victim, eps=s.eps, steps=s.steps, loss="ce"), s.steps)
    yield entry("APGD-DLR", ta.APGD(victim, eps=s.eps, steps=s.steps, loss="dlr"), s.steps)
    yield entry("CW-L2", ta.CW(victim, c=1, kappa=0, steps=100, lr=0.01), 100, "l2")
    yield entry("DeepFool", ta.DeepFool(victim, steps=50), 50, "l2")
    square = ta.Square(victim, eps=s.eps, n_queries=s.queries)
    yield entry("Square", square, s.queries // 3)
    spsa = ta.SPSA(victim, eps=s.eps, nb_iter=1, nb_sample=128)
    yield entry("SPSA", spsa, 128 // 3)


def _foolbox(victim: Victim, s: Settings) -> Iterator[Entry]:
    import foolbox as fb

    model = fb.PyTorchModel(victim, bounds=(0, 1), device=victim.mean.device)

    def entry(name: str, attack: Any, eps: float | None, passes: int, norm: str = "linf") -> Entry:
        def run(x: Tensor, y: Tensor) -> Tensor:
            made = attack(model, x, y, epsilons=eps)[1]
            # Where CW finds nothing, foolbox returns a black image, which fools by its distance.
            lost = (made == 0).flatten(1).all(dim=1).view(-1, 1, 1, 1)
            return x.where(lost, made) if eps is None else made

        return Entry(name, "foolbox", passes, _batched(run, s.batch), norm)

    step: dict[str, Any] = {"abs_stepsize": s.eps / 4, "steps": s.steps}
    yield entry("FGSM", fb.attacks.FGSM(), s.eps, 1)
    yield entry("BIM", fb.attacks.LinfBasicIterativeAttack(**step), s.eps, s.steps)
    yield entry("PGD", fb.attacks.LinfPGD(**step), s.eps, s.steps)
    l2 = fb.attacks.L2PGD(abs_stepsize=s.l2 / 5, steps=s.steps)
    yield entry("PGD-L2", l2, s.l2, s.steps, "l2")
    cw = fb.attacks.L2CarliniWagnerAttack(
        binary_search_steps=1, steps=100, stepsize=0.01, initial_const=1.0
    )
    yield entry("CW-L2", cw, None, 100, "l2")
    yield entry("DDN", fb.attacks.DDNAttack(steps=100), None, 100, "l2")
    yield entry("FMN-L2", fb.attacks.L2FMNAttack(steps=100), None, 100, "l2")
    deepfool = fb.attacks.L2DeepFoolAttack(steps=50, candidates=None)
    yield entry("DeepFool", deepfool, None, 50, "l2")


def _adv_lib(victim: Victim, s: Settings) -> Iterator[Entry]:
    sys.modules.setdefault("visdom", ModuleType("visdom"))  # its plots are not used
    from adv_lib import attacks as al

    def entry(name: str, call: Any, passes: int, **arguments: Any) -> Entry:
        def run(x: Tensor, y: Tensor) -> Tensor:
            return call(victim, x, y, **arguments).detach()

        norm = "linf" if "eps" in arguments else "l2"
        return Entry(name, "adv-lib", passes, _batched(run, s.batch), norm)

    apgd: dict[str, Any] = {"eps": s.eps, "norm": float("inf"), "n_iter": s.steps}
    yield entry("APGD-CE", al.apgd, s.steps, **apgd, loss_function="ce")
    yield entry("APGD-DLR", al.apgd, s.steps, **apgd, loss_function="dlr")
    cw: dict[str, Any] = {"binary_search_steps": 1, "max_iterations": 100, "initial_const": 1.0}
    yield entry("CW-L2", al.carlini_wagner_l2, 100, **cw)
    yield entry("DDN", al.ddn, 100, steps=100, levels=None)
    yield entry("FMN-L2", al.fmn, 100, norm=2, steps=100)
    yield entry("DeepFool", al.df, 50, steps=50, norm=2)


def _pyautoattack(victim: Victim, s: Settings) -> Iterator[Entry]:
    from pyautoattack import AutoAttack as Reference

    with torch.no_grad():
        shape = (1, victim.channels, 32, 32)
        classes = victim(torch.zeros(shape, device=victim.mean.device)).shape[1]

    def entry(name: str, attacks: list[str], passes: int) -> Entry:
        def run(x: Tensor, y: Tensor) -> Tensor:
            attack = Reference(
                victim,
                norm="Linf",
                eps=s.eps,
                version="custom",
                attacks=attacks,
                seed=0,
                device=x.device,
            )
            # As it comes, its targeted attacks ask for nine targets and fail below ten classes.
            targets = min(9, classes - 1)
            attack.apgd_targeted.n_target_classes = targets
            attack.fab.n_target_classes = targets
            # As its standard version has them; a custom one starts with five restarts.
            attack.apgd.n_restarts = attack.apgd_targeted.n_restarts = attack.fab.n_restarts = 1
            if "fab-t" not in attacks:
                attack.apgd.n_iter = attack.apgd_targeted.n_iter = s.steps
            if len(attacks) == 1:
                attack.fab.n_iter, attack.square.n_queries = 20, s.queries
            return attack.run_standard_evaluation(x, y, batch_size=s.batch)[0]

        return Entry(name, "pyautoattack", passes, run)

    yield entry("APGD-CE", ["apgd-ce"], s.steps)
    yield entry("APGD-DLR", ["apgd-dlr"], s.steps)
    if classes > 3:
        yield entry("APGD-T", ["apgd-t"], s.steps)
        yield entry("AutoAttack", ["apgd-ce", "apgd-t", "fab-t", "square"], 100)
    yield entry("FAB-T", ["fab-t"], 20)
    yield entry("Square", ["square"], s.queries // 3)
