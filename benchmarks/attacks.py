"""Wall time of the attacks against the floor and against peers, on one frozen ResNet-18.

    python benchmarks/attacks.py [--size 28 --batch 128 --steps 20 --repeats 5 --device cpu]

The floor of an attack is the same number of forward and input-gradient passes of the same model
in a bare loop. Repeats are interleaved: in every round each attack's floor runs, then each of its
implementations, whose times are divided by that floor. Data are random images, labelled with the
model's own predictions, so that robust accuracy starts at 100 %.

On a machine that others use too, `--clock cpu` counts this process's processor time instead of
wall time (set OMP_NUM_THREADS=1, since waiting threads count).
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import resnet18

from medrobust.attack.base import Attack
from medrobust.attack.bim import BIM
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.fgsm import FGSM
from medrobust.attack.mim import MIM
from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.model.victim import Victim
from medrobust.rng import sample_seeds
from medrobust.threat.surrogate import VictimSurrogate

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
EPS, ALPHA = 8 / 255, 2 / 255
L2, L2_ALPHA = 0.5, 0.1

Run = Callable[[Tensor, Tensor], Tensor]
Entry = tuple[str, str, int, Run]  # attack, implementation, gradient passes, call


def main() -> None:
    """Measure everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=28, help="image side in pixels")
    parser.add_argument("--batch", type=int, default=128, help="images")
    parser.add_argument("--steps", type=int, default=20, help="gradient steps")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    options = parser.parse_args()

    torch.manual_seed(0)
    victim = Victim(
        resnet18(num_classes=7), mean=[0.5] * 3, std=[0.25] * 3, architecture={}
    ).freeze()
    victim.to(options.device)
    x = torch.rand(options.batch, 3, options.size, options.size, device=options.device)
    with torch.no_grad():
        y = victim(x).argmax(1)
    fast = copy.deepcopy(victim).accelerate()
    entries = [*ours(victim, fast, options.steps), *peers(victim, options.steps)]
    entries.sort(key=lambda entry: entry[0])

    results = [first_run((victim, fast), run, x, y) for *_, run in entries]
    ratios: list[list[float]] = [[] for _ in entries]
    clock = CLOCKS[options.clock]
    for _ in range(options.repeats):
        attack, bare = "", 0.0
        for (name, _, steps, run), found in zip(entries, ratios, strict=True):
            if name != attack:
                attack = name
                bare = seconds(partial(floor, victim, x, y, steps), x.device, clock)
            found.append(seconds(partial(run, x, y), x.device, clock) / bare)

    title = f"ResNet-18, {tuple(x.shape)}, {options.steps} steps, {options.device}, "
    table = Table(title=title + f"{options.clock} time, {options.repeats} repeats")
    for name in ("attack", "implementation", "ratio to floor", "min", "max"):
        table.add_column(name, justify="left" if name in ("attack", "implementation") else "right")
    table.add_column("robust accuracy", justify="right")
    table.add_column("forward passes / image", justify="right")
    for (attack, library, *_), ratio, (left, count) in zip(entries, ratios, results, strict=True):
        middle = statistics.median(ratio)
        numbers = f"{middle:.2f}", f"{min(ratio):.2f}", f"{max(ratio):.2f}"
        table.add_row(attack, library, *numbers, f"{left:.1%}", f"{count:.1f}")
    Console(width=110).print(table)


def ours(victim: Victim, fast: Victim, steps: int) -> Iterator[Entry]:
    """This package's attacks, their checks included; `fast` is the accelerated victim."""

    def entry(
        name: str, attack: Attack, passes: int = steps, note: str = "", model: Victim = victim
    ) -> Entry:
        surrogate = VictimSurrogate(model)

        def run(x: Tensor, y: Tensor) -> Tensor:
            seeds = sample_seeds(0, [str(i) for i in range(len(x))], x.device)
            return attack(surrogate, x, y, seeds=seeds)

        return name, f"medrobust{note}", passes, run

    yield entry("FGSM", FGSM(EPS), 1)
    yield entry("BIM", BIM(EPS, steps=steps, step_size=ALPHA))
    yield entry("PGD", PGD(EPS, steps=steps, step_size=ALPHA))
    early = PGD(EPS, steps=steps, step_size=ALPHA, early_stop=True)
    yield entry("PGD", early, note=", early stop")
    # As `evaluate.py` runs it; the floor stays that of the plain victim.
    pgd = PGD(EPS, steps=steps, step_size=ALPHA)
    yield entry("PGD", pgd, note=", accelerated victim", model=fast)
    yield entry("PGD-L2", PGDL2(L2, steps=steps, step_size=L2_ALPHA))
    yield entry("MIM", MIM(EPS, steps=steps, step_size=ALPHA))
    yield entry("CW-L∞", CWLinf(EPS, steps=steps, step_size=ALPHA))


def peers(victim: Victim, steps: int) -> Iterator[Entry]:
    """The same settings in torchattacks and foolbox, as far as they are installed."""
    if find_spec("torchattacks"):
        import torchattacks as ta

        iterated: dict[str, Any] = {"eps": EPS, "alpha": ALPHA, "steps": steps}
        yield "FGSM", "torchattacks", 1, ta.FGSM(victim, eps=EPS)
        yield "BIM", "torchattacks", steps, ta.BIM(victim, **iterated)
        yield "PGD", "torchattacks", steps, ta.PGD(victim, **iterated)
        l2 = ta.PGDL2(victim, eps=L2, alpha=L2_ALPHA, steps=steps)
        yield "PGD-L2", "torchattacks", steps, l2
        yield "MIM", "torchattacks", steps, ta.MIFGSM(victim, **iterated)
    if find_spec("foolbox"):
        import foolbox as fb

        model = fb.PyTorchModel(victim, bounds=(0, 1), device=victim.mean.device)

        def entry(name: str, attack: fb.attacks.base.Attack, eps: float, passes: int) -> Entry:
            return name, "foolbox", passes, lambda x, y: attack(model, x, y, epsilons=eps)[1]

        step: dict[str, Any] = {"abs_stepsize": ALPHA, "steps": steps}
        yield entry("FGSM", fb.attacks.FGSM(), EPS, 1)
        yield entry("BIM", fb.attacks.LinfBasicIterativeAttack(**step), EPS, steps)
        yield entry("PGD", fb.attacks.LinfPGD(**step), EPS, steps)
        l2 = fb.attacks.L2PGD(abs_stepsize=L2_ALPHA, steps=steps)
        yield entry("PGD-L2", l2, L2, steps)


def floor(victim: Victim, x: Tensor, y: Tensor, steps: int) -> None:
    """`steps` forward and input-gradient passes, and nothing else."""
    for _ in range(steps):
        leaf = x.detach().requires_grad_()
        loss = F.cross_entropy(victim(leaf), y, reduction="sum")
        torch.autograd.grad(loss, leaf)


def first_run(victims: Sequence[Victim], run: Run, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Robust accuracy, and images that went through the model per image; also warms up."""
    seen: list[int] = []
    handles = [
        victim.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        for victim in victims
    ]
    adversarial = run(x, y)
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        return float((victims[0](adversarial).argmax(1) == y).float().mean()), sum(seen) / len(x)


def seconds(call: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    """Time of one call."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


if __name__ == "__main__":
    main()
