"""A detector learns, is resumed exactly, and is refused where it does not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medrobust.model.core.anchors import Anchors
from medrobust.model.core.checkpoint import read_meta
from medrobust.model.core.victim import Victim
from medrobust.model.retinanet import RetinaNet
from medrobust.objective.retinanet import RetinaNetObjective
from medrobust.objective.standard import Standard
from medrobust.objective.trades import TRADES
from medrobust.training.victim.module import UndefinedScoreError
from tests.support.boxes import Maps
from tests.training.conftest import Data

Train = Callable[..., Any]


def detector(num_classes: int) -> Victim:
    network = RetinaNet(Maps(), [4, 4, 4], 16, num_classes)
    torch.nn.init.constant_(network.head.classification_head.cls_logits.bias, -2.0)
    architecture = {
        "builder": "retinanet", "num_classes": num_classes, "name": "tiny", "backbone": "resnet18",
    }  # fmt: skip
    anchors = Anchors((8, 16, 32, 64, 128), 12.0)
    half = [0.5] * 3
    return Victim(network, mean=half, std=half, architecture=architecture, anchors=anchors)


class Interrupted(RetinaNetObjective):
    """Stops in the second epoch, as a power cut would."""

    batches = 6

    def loss(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        if self.batches == 0:
            raise KeyError("power cut")
        self.batches -= 1
        return super().loss(*args, **kwargs)


@pytest.fixture
def boxes() -> dict[str, Any]:
    return {"data": Data("detection"), "model": detector, "objective": RetinaNetObjective()}


def test_the_loss_falls() -> None:
    torch.manual_seed(0)
    victim, data = detector(2), Data("detection")
    x, y = (torch.stack([sample[part] for sample in data.samples[:8]]) for part in (0, 1))
    optimizer = torch.optim.Adam(victim.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = RetinaNetObjective().loss(victim, x, y, seeds=torch.arange(8))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_a_detector_says_how_well_it_finds(
    run: Train, boxes: dict[str, Any], tmp_path: Path
) -> None:
    meta = run(**boxes, max_epochs=1)
    assert set(meta.scores) == {"val/map_50", "test/map_50"}
    assert 0 <= meta.scores["test/map_50"] <= 1
    assert meta == read_meta(tmp_path / "victim.ckpt")
    assert meta.task == "detection"


def test_a_resumed_training_ends_the_same(
    run: Train, boxes: dict[str, Any], tmp_path: Path
) -> None:
    prints = []
    for name in ("whole", "cut"):
        path = tmp_path / name / "v.ckpt"
        if name == "cut":
            with pytest.raises(KeyError, match="power cut"):
                run(**(boxes | {"objective": Interrupted()}), checkpoint=path)
        run(**boxes, checkpoint=path)
        prints.append(torch.load(path, weights_only=True)["fingerprint"])
    assert prints[0] == prints[1]


def test_what_does_not_fit_is_refused(
    run: Train, boxes: dict[str, Any], segmentation: dict[str, Any]
) -> None:
    robust = TRADES(
        "trades", eps=0.1, step_size=0.1, steps=1, val_steps=1, val_metric=None, beta=1.0
    )
    for wrong, what in (
        ({"objective": Standard()}, "objective=standard is for .*set objective=retinanet"),
        ({"objective": robust}, "objective=trades is for .*set objective=retinanet"),
        (
            {"data": Data()},
            "objective=retinanet is for detection, blobs is a task of classification",
        ),
        ({"model": segmentation["model"]}, "the model answers classes.*set model=retinanet"),
        ({"data": Data(), "objective": Standard()}, "the model answers boxes.*set model=resnet18"),
    ):
        with pytest.raises(TypeError, match=what):
            run(**(boxes | wrong))


def test_a_score_that_ranks_no_epoch_is_refused(run: Train, boxes: dict[str, Any]) -> None:
    """Without a true box there is no mean average precision: neither 0 nor a best epoch."""
    for sample in boxes["data"].samples:
        sample.label[:, 0] = -1
    with pytest.raises(UndefinedScoreError, match=r"val/map_50 .*not defined.*data\.limit_val"):
        run(**boxes, max_epochs=1)
