"""Two processes give what one gives, and a failing one takes nobody along."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from medrobust.attack.pgd import PGD
from medrobust.attack.square import Square
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet
from medrobust.defense.median import Median
from medrobust.defense.medrdf import MedRDF
from medrobust.defense.noise.additive import GaussianNoise
from medrobust.defense.none import NoDefense
from medrobust.evaluation.batches import shard
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.batches.shard import ShardError, Shards, shares
from medrobust.evaluation.batches.worker import serve
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.evaluate import evaluate
from medrobust.evaluation.predict import answers
from medrobust.model.core.victim import Victim
from medrobust.model.resnet import build
from medrobust.threat.adaptive import Adaptive
from medrobust.threat.blackbox import BlackBox
from medrobust.threat.oblivious import Oblivious
from tests.support.black_corner import BlackCorner
from tests.support.helpers import small_cnn
from tests.support.kinds import slow_unless

CPU = torch.device("cpu")
N = 21


@pytest.fixture(scope="module", params=["forked", pytest.param("spawned", marks=pytest.mark.slow)])
def shards(request: pytest.FixtureRequest) -> Iterator[Shards]:
    """Two processes, as they are or without the imports that most of their time goes into."""
    two = Shards("cpu", 2)

    def served(fabric: Fabric, ends: Sequence[Connection]) -> None:
        torch.set_num_threads(1)  # a pool of threads does not survive a fork
        for end in two._ends:  # inherited: a pipe ends when every copy of its end is closed
            end.close()
        serve(fabric, ends)

    with pytest.MonkeyPatch.context() as patch:
        if request.param == "forked":
            patch.setattr(shard, "DDPStrategy", lambda **_: DDPStrategy(start_method="fork"))
            patch.setattr(shard, "serve", served)
        yield two
        two.close()


@pytest.fixture(scope="module")
def victim() -> Victim:
    torch.manual_seed(0)
    return build(4, name="resnet18", network="test_resnet").freeze().accelerate()


def images_for(victim: Victim) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = (torch.rand(N, 3, 28, 28, generator=generator) * 255).round() / 255
    with torch.no_grad():
        labels = victim(images).argmax(1)
    return ImageSet(images, labels, tuple(f"set/{i}" for i in range(N)))


def run(folder, victim, shards, *, defense, threat, attack):
    return evaluate(
        Cell(
            victim=victim,
            defense=defense,
            surrogate=threat(victim, defense),
            attack=attack,
            clean=images_for(victim),
            classes=4,
            seed=0,
            quantize=False,
        ),
        Runner(CPU, 8, TensorCache(folder), shards),
    )


VOTE = MedRDF(GaussianNoise(0.1), Median(), copies=10)
WHITE, BLACK = PGD(eps="2/255", steps=3), Square(eps="2/255", queries=20)


@pytest.mark.parametrize(
    ("defense", "threat", "attack"),
    [
        slow_unless(False, NoDefense(), Oblivious(), WHITE, id="oblivious"),
        slow_unless(True, VOTE, Adaptive(2), WHITE, id="adaptive"),
        slow_unless(False, VOTE, BlackBox(), BLACK, id="blackbox"),
    ],
)
def test_two_devices_give_the_bytes_of_one(tmp_path, shards, victim, defense, threat, attack):
    one, two = (
        run(tmp_path / name, victim, how, defense=defense, threat=threat, attack=attack)
        for name, how in (("one", None), ("two", shards))
    )
    assert two.measured == one.measured
    assert two.checks == one.checks
    assert two.keys == one.keys
    for key in one.keys.values():
        first, second = (TensorCache(tmp_path / name).get(key) for name in ("one", "two"))
        assert first is not None
        assert second is not None
        assert list(first.tensors) == list(second.tensors)
        for name, tensor in first.tensors.items():
            assert tensor.numpy().tobytes() == second.tensors[name].numpy().tobytes()


def answer(folder, shards, how, black):
    victim = small_cnn()
    images = images_for(victim)
    if black is not None:
        images.images[black, :, 0, 0] = 0
    return answers(
        BlackCorner(how), victim, images, Runner(CPU, 4, TensorCache(folder), shards), seed=0
    )


@pytest.mark.parametrize("black", [2, 19])
def test_a_failing_device_fails_the_cell_with_its_error(tmp_path, shards, black):
    with pytest.raises(ValueError, match="a black corner") as caught:
        answer(tmp_path, shards, "raises", black)
    assert any(f"set/{black}" in note for note in caught.value.__notes__)
    assert "in forward" in str(caught.value.__cause__)  # where it happened, in the other process
    assert not any(path.suffix == ".safetensors" for path in tmp_path.rglob("*"))
    assert len(answer(tmp_path, shards, "raises", None).label) == N  # the next cell runs


@pytest.mark.slow
def test_a_killed_device_fails_the_cell_and_is_replaced(tmp_path, shards):
    with pytest.raises(ShardError, match="SIGKILL"):
        answer(tmp_path, shards, "killed", 19)
    assert not any(path.suffix == ".safetensors" for path in tmp_path.rglob("*"))
    assert len(answer(tmp_path, shards, "killed", None).label) == N


def test_closed_processes_are_gone(shards):
    shards.close()
    deadline = time.monotonic() + 60  # on a busy machine a process takes its time to end
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("total", "count"), [(21, 2), (7, 3), (1, 2), (0, 2), (100, 8)])
def test_shares_cover_every_image_once(total, count):
    parts = shares(total, count)
    assert [i for part in parts for i in range(total)[part]] == list(range(total))
    assert len(parts) == count
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1
