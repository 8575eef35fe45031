"""Whole cells on the device: the call from Python, and the command line with its recordings."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

import medrobust
from medrobust import keys
from medrobust.attack.core.base import Attack
from medrobust.attack.joint_pgd import JointPGD
from medrobust.attack.pgd import PGD
from medrobust.attack.square import Square
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.bit_depth import BitDepth
from medrobust.defense.core.base import Defense
from medrobust.defense.feature_squeezing import FeatureSqueezing
from medrobust.defense.jpeg import JPEG
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.medrdf_seg import MedRDFSeg
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.defense.randomized_smoothing import RandomizedSmoothing
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import evaluate
from medrobust.model.core.victim import Victim
from medrobust.result.row import Row
from medrobust.result.store import RowStore
from medrobust.threat.adaptive import Adaptive
from tests.attack.conftest import PixelNet, make_victim
from tests.device.conftest import Entry
from tests.support import boxes
from tests.support.clinic import clinic
from tests.support.device.compare import moved
from tests.support.here import run_here

pytestmark = pytest.mark.device

EPS = 8 / 255
CELLS: dict[str, tuple[Callable[[], Attack], Callable[[], Defense], str]] = {
    "oblivious": (lambda: PGD(EPS, steps=3), JPEG, "oblivious"),
    "oblivious, certified": (
        lambda: PGD(EPS, steps=3),
        lambda: RandomizedSmoothing(0.1, copies=30, n0=10),
        "oblivious",
    ),
    "adaptive": (
        lambda: PGD(EPS, steps=3),
        lambda: MedRDF(GaussianNoise(0.05), Median(), copies=20),
        "adaptive",
    ),
    "blackbox": (lambda: Square(EPS, queries=20), Median, "blackbox"),
}


def compare(first: Row, second: Row, device: torch.device) -> None:
    """The metrics of a cell on the CPU and on the device."""
    assert first.status == second.status == "done"
    left_out = {"seconds_per_image", "seconds", "overhead"}
    names = first.metrics.keys() - left_out
    assert names <= second.metrics.keys()
    for key in names:
        near = 0 if device.type == "fake" else 0.2
        assert second.metrics[key] == pytest.approx(first.metrics[key], near, near), key


@pytest.mark.parametrize("name", CELLS)
def test_a_call_from_python(name: str, device: torch.device, entry: Entry) -> None:
    entry("evaluation", f"classes, {name}")
    attack, defense, threat = CELLS[name]
    model = moved(clinic().victim, torch.device("cpu"))
    data = (clinic().clean[:12], clinic().labels[:12])
    cpu, there = (
        medrobust.evaluate(
            *(model, data), attack=attack(), defense=defense(), threat=threat, device=place
        )
        for place in (None, device)
    )
    assert next(model.parameters()).device.type == "cpu"  # moved back
    compare(cpu, there, device)


@pytest.mark.parametrize("threat", ["oblivious", "adaptive", "blackbox"])
@pytest.mark.parametrize("task", ["masks", "boxes"])
def test_other_tasks(task: str, threat: str, device: torch.device, entry: Entry) -> None:
    entry("evaluation", f"{task}, {threat}")
    if task == "masks":
        model, x = make_victim(PixelNet()), clinic().clean[:4]
        with torch.no_grad():
            data = (x, model(x).argmax(1))
        defense: Defense = MedRDFSeg(GaussianNoise(0.05), NoDefense(), copies=30)
        attack: Attack = Square(EPS, queries=15) if threat == "blackbox" else PGD(EPS, steps=2)
    else:
        model, data = (
            moved(boxes.detector(), torch.device("cpu")),
            (boxes.pictures(3), boxes.answered(3)),
        )
        defense = Median()
        attack = PGD(EPS, steps=2)
        if threat == "blackbox":
            entry.refused("no query attack takes boxes")
            return
    cpu, there = (
        medrobust.evaluate(model, data, attack=attack, defense=defense, threat=threat, device=place)
        for place in (None, device)
    )
    compare(cpu, there, device)


def test_a_detector_and_an_attack_on_both(
    device: torch.device, entry: Entry, tmp_path: Path
) -> None:
    entry("evaluation", "classes, detector")
    found = []
    for place in (torch.device("cpu"), device):
        victim = moved(clinic().victim, place)
        defense = FeatureSqueezing([BitDepth(5), Median(3)]).to(place)
        defense.fit(victim, clinic().data)
        ids = tuple(f"clinic/test/{i}" for i in range(20))
        result = evaluate(
            Cell(
                victim=victim,
                defense=defense.eval(),
                surrogate=Adaptive()(victim, defense),
                attack=JointPGD(EPS, steps=3),
                clean=ImageSet(clinic().clean[:20], clinic().labels[:20], ids),
                classes=3,
                data=clinic().data,
            ),
            Runner(place, 7, TensorCache(tmp_path / place.type)),
        )
        found.append(result.measured.values)
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        if device.type == "fake" and "seconds" not in key:
            assert found[1][key] == value, key


def test_the_command_line(
    device: torch.device, entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of the package, the metrics of a perturbation, and all recordings."""
    entry("evaluation", "train and evaluate")
    names = {"fake": ("fake", "trainer.strategy=fake"), "cuda": ("gpu", "trainer.strategy=auto")}
    accelerator, strategy = names[device.type]
    monkeypatch.setitem(keys._TRAINER, "accelerator", str)  # ours is none of Lightning's
    words = [f"paths.root={tmp_path}", f"trainer.accelerator={accelerator}", "logger=none"]
    words += ["data=dermamnist", "data.phantom=true", "data.phantom_n=140"]
    train = [strategy, "trainer.max_epochs=1", "progress_bar=false"]
    for seed in (0, 1):
        assert run_here(monkeypatch, "train.py", *words, *train, f"seed={seed}") == 0
    assert (
        run_here(monkeypatch, "train.py", *words, *train, "defense=shield", "defense.steps=2") == 0
    )
    transfer = ["model@threat.surrogate_model=resnet18", "threat.surrogate_seed=1"]
    record = ["perturbation=true", "iterates={at: [1, 2], images: 1}"]
    record += ["maps={taps: [layer1.1], images: 2}"]
    cells = [
        ["attack=pgd", "attack.steps=2", "defense=medrdf", "copies=10", "threat=adaptive"],
        ["attack=pgd", "attack.steps=2", "defense=jpeg", *record],
        ["attack=fgsm", "threat=transfer", *transfer],
        ["attack=square", "attack.queries=10", "threat=blackbox", "quantize=true"],
        ["attack=pgd", "attack.steps=2", "precision=bf16"],
        [
            "attack=joint_pgd",
            "attack.steps=2",
            "defense=shield",
            "threat=adaptive",
            "defense.steps=2",
        ],
        ["attack=stress/mean", "attack.steps=2", "defense=bit_depth"],
        ["attack=none", "defense=randomized_smoothing", "defense.copies=20", "defense.n0=5"],
        ["attack=uap", "attack.images=20", "attack.epochs=1", "attack.restarts=1"],
    ]
    seen: set[torch.device] = set()

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, Victim):
            seen.add(inputs[0].device)

    with register_module_forward_pre_hook(watch):
        for cell in cells:
            status = run_here(monkeypatch, "evaluate.py", *words, "data.limit_test=10", *cell)
            assert status == 0, cell
    rows = RowStore(tmp_path / "outputs/rows").rows()
    assert [row.status for row in rows] == ["done"] * len(cells)
    assert seen == {device}
