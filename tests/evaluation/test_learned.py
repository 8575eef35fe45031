"""An attack that learns from training images, inside an evaluation."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from medrobust.attack.core.base import AttackError
from medrobust.attack.pgd import PGD
from medrobust.attack.uap import UAP
from medrobust.cache.tensors import TensorCache
from medrobust.data.core.image_set import ImageSet, load
from medrobust.data.medmnist import MedMNIST
from medrobust.evaluation.adversarial import adversarial_set, set_key
from medrobust.evaluation.batches.runner import Runner
from medrobust.threat.surrogate import VictimSurrogate
from tests.support.helpers import small_cnn
from tests.support.toys import ToyData


def toys(count: int) -> tuple[Tensor, Tensor]:
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return images, torch.arange(count) % 3


def test_on_a_datamodule(tmp_path: Path) -> None:
    """Drawn images of a real layout: split, subset and shapes as an evaluation has them."""
    data = MedMNIST(
        tmp_path / "data",
        tmp_path / "manifests",
        name="dermamnist",
        size=28,
        phantom=True,
        phantom_n=120,
    )
    victim = small_cnn(classes=data.num_classes)
    attack = UAP(8 / 255, epochs=1, batch=16, images=40, restarts=2)
    attack.fit(VictimSurrogate(victim), data)
    assert attack.delta is not None
    assert attack.delta.shape == (3, 28, 28)
    drawn = load(data, "train", most=40, seed=0)
    assert len(drawn) == 40
    assert set(drawn.ids) < set(load(data, "train").ids)
    assert len(drawn.labels.unique()) == len(data.labels("train").unique())


def test_cache_tells_training_data_apart(tmp_path: Path) -> None:
    surrogate = VictimSurrogate(small_cnn(classes=3))
    images, labels = toys(160)
    clean = ImageSet(images[120:], labels[120:], tuple(map(str, range(40))))
    attack = UAP(8 / 255, epochs=1, restarts=1)
    keys = [set_key(surrogate, attack, clean, 0, False, source) for source in "ab"]
    assert keys[0] != keys[1]
    plain = [set_key(surrogate, PGD(8 / 255, steps=1), clean, 0, False, source) for source in "ab"]
    assert plain[0] == plain[1]

    def craft(data: Any, attack: UAP) -> Any:
        return adversarial_set(
            surrogate,
            attack,
            clean,
            Runner(torch.device("cpu"), 33, TensorCache(tmp_path)),
            seed=0,
            quantize=False,
            data=data,
        )

    first = craft(ToyData(images[:60], labels[:60], "a"), attack)
    replayed = craft(ToyData(images[:60], labels[:60], "a"), UAP(8 / 255, epochs=1, restarts=1))
    other = craft(ToyData(images[60:120], labels[60:120], "b"), attack)
    fewer = craft(ToyData(images[:40], labels[:40], "a"), attack)  # data.limit_train
    assert not fewer.replayed
    assert (first.replayed, replayed.replayed, other.replayed) == (False, True, False)
    assert torch.equal(first.images.images, replayed.images.images)
    assert not torch.equal(first.images.images, other.images.images)
    with pytest.raises(AttackError, match="learns from training data"):
        craft(None, UAP(8 / 255, epochs=2))


def test_images_are_capped_and_drawn_by_class() -> None:
    data: Any = ToyData(*toys(120))
    part = load(data, "train", most=30, seed=4)
    assert len(part) == 30
    assert part.labels.bincount().tolist() == [10, 10, 10]
    assert set(part.ids) != set(load(data, "train", most=30, seed=5).ids)
    assert load(data, "train", most=1000).ids == load(data, "train").ids
