from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from medrobust.data.core.error import DataError
from medrobust.model.core.checkpoint import read_meta
from medrobust.model.core.victim import Victim
from medrobust.objective.dice_ce import DiceCE
from medrobust.objective.standard import Standard
from medrobust.training.checkpoint_path import AlreadyTrainedError
from medrobust.training.run import EmptyTrainingError
from medrobust.training.seeded import RecipeError
from medrobust.training.victim.classifier import MacroAUROC

Train = Callable[..., Any]


def weights(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def fingerprint(path: Path) -> str:
    return torch.load(path, weights_only=True)["fingerprint"]


class PowerCutError(RuntimeError):
    pass


class Interrupted(Standard):
    """Standard training until the power fails."""

    batches = 6  # of four per epoch: in the middle of the second

    def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        if self.batches == 0:
            raise PowerCutError
        self.batches -= 1
        return super().loss(victim, x, y, seeds=seeds)


class Recorder(Standard):
    """Standard training that notes what it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def loss(self, victim: Victim, x: Tensor, y: Tensor, *, seeds: Tensor) -> Tensor:
        assert victim.training
        self.seen.append(x)
        return super().loss(victim, x, y, seeds=seeds)


def test_a_classifier_learns_and_says_where_it_comes_from(run: Train, tmp_path: Path) -> None:
    meta = run(max_epochs=8)
    assert meta.scores["test/accuracy"] > 0.9
    assert set(meta.scores) == {
        f"{split}/{metric}"
        for split in ("val", "test")
        for metric in ("accuracy", "balanced_accuracy", "auroc")
    }
    assert meta == read_meta(tmp_path / "victim.ckpt")
    assert (meta.data, meta.data_key, meta.phantom, meta.epochs) == ("blobs", "blobs_8px", True, 8)
    assert meta.classes == ["dark", "bright"]
    assert meta.data_digest == meta.recipe["data_digest"] == "0" * 64
    assert meta.seconds > 0
    assert {"torch", "medrobust"} <= set(meta.versions)
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["victim.ckpt"]  # nothing left over


@pytest.mark.parametrize(("every", "last"), [(1, False), (3, True)])
def test_the_last_epoch_is_kept_where_only_that_is_measured(
    run: Train, every: int, last: bool
) -> None:
    trainer = {"accelerator": "cpu", "devices": 1, "max_epochs": 3}
    meta = run(
        trainer={**trainer, "check_val_every_n_epoch": every},
        optimizer=lambda weights: torch.optim.SGD(weights, lr=0.0),  # no epoch is better
    )
    assert meta.epochs == 3
    assert (meta.best_epoch == 2) is last


def test_masks_need_a_segmenter_and_some_foreground(
    run: Train, segmentation: dict[str, Any]
) -> None:
    with pytest.raises(TypeError, match=r"one answer per image.*blobs are for seg.*model=unet"):
        run(data=segmentation["data"], objective=DiceCE())
    with pytest.raises(
        TypeError, match=r"answer per pixel.*for classification; set model=resnet18"
    ):
        run(model=segmentation["model"])
    for sample in segmentation["data"].samples:
        sample.label.zero_()
    with pytest.raises(DataError, match=r"no mask of split train \(32 images\).*bright"):
        run(**segmentation, objective=DiceCE())


def test_a_segmenter_learns(run: Train, segmentation: dict[str, Any]) -> None:
    before = run(**segmentation, objective=DiceCE(), max_epochs=1)
    after = run(**segmentation, objective=DiceCE(), max_epochs=15, overwrite=True)
    assert set(after.scores) == {"val/dice", "val/jaccard", "test/dice", "test/jaccard"}
    assert after.scores["test/dice"] > max(0.8, before.scores["test/dice"])
    dice, jaccard = after.scores["test/dice"], after.scores["test/jaccard"]
    assert jaccard == pytest.approx(dice / (2 - dice), abs=1e-6)


def test_equal_seeds_give_equal_weights_and_others_do_not(run: Train, tmp_path: Path) -> None:
    prints = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(checkpoint=tmp_path / name / "v.ckpt", seed=seed)
        prints.append(fingerprint(tmp_path / name / "v.ckpt"))
    assert prints[0] == prints[1] != prints[2]


def test_every_epoch_has_an_order_of_its_own(run: Train) -> None:
    objective = Recorder()
    run(objective=objective, max_epochs=2)
    first, second = torch.cat(objective.seen[:4]), torch.cat(objective.seen[4:])
    assert not torch.equal(first, second)
    sums = [epoch.flatten(1).sum(1).sort().values for epoch in (first, second)]
    torch.testing.assert_close(*sums)  # the same images


@pytest.mark.by_default("6")
@pytest.mark.parametrize("batches", [6, 8])
def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    run: Train, tmp_path: Path, batches: int
) -> None:
    all_of_them = Recorder()
    run(checkpoint=tmp_path / "whole" / "v.ckpt", max_epochs=4, objective=all_of_them)
    path = tmp_path / "resumed" / "v.ckpt"
    broken = Interrupted()
    broken.batches = batches
    with pytest.raises(PowerCutError):
        run(checkpoint=path, max_epochs=4, objective=broken)
    assert not path.exists()
    assert path.with_suffix(".training").joinpath("last.ckpt").exists()
    objective = Recorder()
    meta = run(checkpoint=path, max_epochs=4, objective=objective)
    assert len(objective.seen) == 16 - 4 * (batches // 4)  # whole epochs are not done again
    rest = all_of_them.seen[-len(objective.seen) :]
    assert all(torch.equal(x, other) for x, other in zip(objective.seen, rest, strict=True))
    assert meta.epochs == 4
    whole = weights(tmp_path / "whole" / "v.ckpt")
    assert all(torch.equal(value, whole[name]) for name, value in weights(path).items())
    assert fingerprint(path) == fingerprint(tmp_path / "whole" / "v.ckpt")


def test_resume_null_starts_over(run: Train) -> None:
    with pytest.raises(PowerCutError):
        run(objective=Interrupted())
    objective = Recorder()
    run(objective=objective, resume=None)
    assert len(objective.seen) == 12


def test_resuming_with_another_recipe_is_refused(run: Train) -> None:
    with pytest.raises(PowerCutError):
        run(objective=Interrupted())
    with pytest.raises(RecipeError, match="resume=null"):
        run(recipe={"model": {"name": "other"}})


def test_resuming_from_nowhere_is_refused(run: Train, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        run(resume=str(tmp_path / "none.ckpt"))


def test_the_same_training_is_not_done_twice(run: Train, tmp_path: Path) -> None:
    first = run()
    objective = Recorder()
    assert run(objective=objective) == first
    assert not objective.seen


def test_another_training_does_not_replace_a_victim_unasked(
    run: Train, tmp_path: Path, other_data: Any
) -> None:
    run()
    old = fingerprint(tmp_path / "victim.ckpt")
    with pytest.raises(AlreadyTrainedError, match=r"model\.name: tiny -> other\n.*overwrite=true"):
        run(recipe={"model": {"name": "other"}})
    with pytest.raises(AlreadyTrainedError, match="data_digest: 000"):
        run(data=other_data)
    assert fingerprint(tmp_path / "victim.ckpt") == old
    run(recipe={"model": {"name": "other"}}, seed=3, overwrite=True)
    assert fingerprint(tmp_path / "victim.ckpt") != old


def test_a_training_of_nothing_says_so(run: Train) -> None:
    with pytest.raises(EmptyTrainingError, match="max_epochs=0"):
        run(max_epochs=0)


def test_the_best_epoch_is_kept_and_early_stopping_stops(
    run: Train, segmentation: dict[str, Any]
) -> None:
    # A rate of zero leaves every epoch alike, so the first one is the best.
    still = {"optimizer": lambda w: torch.optim.SGD(w, lr=0.0), "scheduler": None}
    meta = run(max_epochs=9, early_stopping=2, **still, **segmentation)
    assert meta.best_epoch == 0
    assert meta.epochs == 3


def test_a_diverged_training_says_so(run: Train, tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"loss is (nan|inf).*optimizer\.lr"):
        run(optimizer=lambda w: torch.optim.SGD(w, lr=1e38), scheduler=None)
    assert not (tmp_path / "victim.ckpt").exists()


def test_the_auroc_of_sure_answers_is_that_of_their_log_odds() -> None:
    """torchmetrics' own ranks float32 probabilities, of which most are 1 here, and calls it 0.5."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    logits = torch.randn(60, 3, generator=generator)
    logits[:, 1] += 60
    logits[torch.arange(60), labels] += 3
    metric = MacroAUROC()
    for part in (slice(0, 17), slice(17, 60)):
        metric.update(logits[part], labels[part])
    odds = [
        logits[:, k].double() - logits[:, [k - 1, k - 2]].double().logsumexp(1) for k in range(3)
    ]
    each = [roc_auc_score(labels == k, odds[k]) for k in range(3)]
    assert metric.compute().item() == pytest.approx(sum(each) / 3, abs=1e-6)
    metric.reset()
    metric.update(logits[labels == 0], labels[labels == 0])
    assert metric.compute().isnan()  # of one class there is no rank


@pytest.mark.parametrize(
    ("key", "value"), [("max_time", "soon"), ("val_check_interval", {"a": 1}), ("colour", 1)]
)
def test_what_lightning_refuses_is_told_in_one_sentence(run: Train, key: str, value: Any) -> None:
    trainer = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, key: value}
    message = (
        f"the keys under trainer, .*{key}.* are not what Lightning's Trainer expects: .*; change"
    )
    with pytest.raises(ValueError, match=message) as caught:
        run(trainer=trainer)
    assert "\n" not in str(caught.value)
