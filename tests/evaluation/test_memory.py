"""Batches that do not fit are halved, and nothing but the log tells."""

import logging

import pytest
import torch

from medrobust.attack.fgsm import FGSM
from medrobust.attack.none import NoAttack
from medrobust.attack.pgd import PGD
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.median import Median
from medrobust.defense.none import NoDefense
from medrobust.evaluation.adversarial import adversarial_set
from medrobust.evaluation.batches.batches import map_batches, out_of_memory
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import evaluate
from medrobust.threat.oblivious import Oblivious
from tests.evaluation.counted import Counted
from tests.support.helpers import small_cnn

CPU = torch.device("cpu")
N = 37
ERRORS = {
    "cuda": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "host": RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate "
        "memory: you tried to allocate 8 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "python": MemoryError(),
    "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
}


@pytest.fixture(scope="module")
def clean() -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(N, 3, 8, 8, generator=generator) * 255).round() / 255
    with torch.no_grad():
        labels = small_cnn()(images).argmax(1)
    return ImageSet(images, labels, tuple(f"set/{i}" for i in range(N)))


class Narrow(PGD):
    """PGD on a device that holds `most` images."""

    unscientific = ("most", "error")

    def __init__(self, *, most: int, error: Exception) -> None:
        super().__init__(eps="8/255", steps=2)
        self.most, self.error = most, error

    def perturb(self, surrogate, x, goal, *, seeds):
        if len(x) > self.most:
            raise self.error
        return super().perturb(surrogate, x, goal, seeds=seeds)


class NarrowMedian(Median):
    def forward(self, x, victim, *, seeds):
        if len(x) > 3:
            raise ERRORS["cuda"]
        return super().forward(x, victim, seeds=seeds)


def craft(runner, clean, attack):
    surrogate = Oblivious()(small_cnn(), NoDefense())
    return adversarial_set(surrogate, attack, clean, runner, seed=0, quantize=False)


def counted(folder):
    return Counted(CPU, 16, TensorCache(folder))


@pytest.mark.by_default("1-python", "5-cuda")
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("most", [1, 5])
def test_halved_batches_give_the_same_set(tmp_path, clean, error, most, caplog):
    whole = craft(counted(tmp_path / "whole"), clean, Narrow(most=99, error=error))
    runner = counted(tmp_path / "parts")
    with caplog.at_level(logging.WARNING):
        parts = craft(runner, clean, Narrow(most=most, error=error))
    assert parts.key == whole.key
    assert torch.equal(parts.images.images, whole.images.images)
    assert parts.checks == whole.checks
    assert sum(runner.done) == N
    assert max(runner.done) <= most
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "out of memory with 16 images on cpu: on with 8"
    assert len(said) == {1: 4, 5: 2}[most]  # once per halving, not once per batch


def test_one_image_too_much_fails_the_cell(tmp_path, clean):
    with pytest.raises(MemoryError):
        craft(counted(tmp_path), clean, Narrow(most=0, error=MemoryError()))


def test_other_errors_are_not_taken_for_it(tmp_path, clean):
    error = RuntimeError("shapes do not match")
    assert not out_of_memory(error)
    assert not out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        craft(counted(tmp_path), clean, Narrow(most=5, error=error))


def test_the_defended_answer_halves_too(tmp_path, clean):
    found = []
    for defense in (Median(), NarrowMedian()):
        victim = small_cnn()
        found.append(
            evaluate(
                Cell(
                    victim=victim,
                    defense=defense,
                    surrogate=Oblivious()(victim, defense),
                    attack=FGSM(eps="8/255"),
                    clean=clean,
                    classes=4,
                    seed=0,
                    quantize=False,
                ),
                Runner(CPU, 16, TensorCache(tmp_path / type(defense).__name__)),
            ).measured
        )
    assert found[0] == found[1]


def test_the_checks_halve_too(tmp_path, clean):
    """An attack that asks for little leaves the checks as the largest step."""
    surrogate = Oblivious()(small_cnn(), NoDefense())
    plain = craft(counted(tmp_path / "plain"), clean, NoAttack())
    ask = surrogate.forward

    def narrow(x, *args):
        if len(x) > 6:
            raise ERRORS["host"]
        return ask(x, *args)

    surrogate.forward = narrow  # type: ignore[method-assign]
    runner = Runner(CPU, 16, TensorCache(tmp_path / "narrow"))
    found = adversarial_set(surrogate, NoAttack(), clean, runner, seed=0, quantize=False)
    assert found.checks == plain.checks


def test_batches_know_their_place(clean):
    seen = []

    def work(batch):
        seen.append((batch.first, batch.number, batch.ids[0]))
        return {"label": batch.labels}

    seeds = torch.arange(N)
    found = map_batches(work, clean, seeds, batch_size=16, device=CPU, first=32)
    assert torch.equal(found["label"], clean.labels)
    assert seen == [(32, 2, "set/0"), (48, 3, "set/16"), (64, 4, "set/32")]
