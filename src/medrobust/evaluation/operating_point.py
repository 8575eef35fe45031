"""Thresholds of the deployed system, chosen on clean validation images."""

import torch

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.image_set import ImageSet, load
from medrobust.data.core.in_memory import InMemory
from medrobust.evaluation.batches.runner import Runner
from medrobust.evaluation.cell import Cell
from medrobust.evaluation.predict import answers
from medrobust.metric.operating_point import choose_thresholds
from medrobust.task import check_labels, task_of


def check_operating_point(rule: object, split: str, labels: torch.Tensor) -> None:
    """Check that a cell can be measured at an operating point.

    Args:
        rule: setting `operating_point`; None asks for nothing.
        split: that is evaluated.
        labels: of the evaluated images.

    Raises:
        ValueError: the validation images are evaluated themselves, or are not classified.
    """
    if rule is None:
        return
    if split == "val":
        raise ValueError(
            f"operating_point={rule} is chosen on the validation images, which split=val "
            "evaluates; set split=test, or operating_point=null"
        )
    if (task := task_of(labels)) != "classification":
        raise ValueError(
            f"operating_point={rule} needs class labels, but the task is {task}; set "
            "operating_point=null"
        )


def validation_images(data: MedicalDataModule | InMemory) -> ImageSet:
    """Return the clean validation images of data that are evaluated from Python.

    Raises:
        ValueError: the data are tensors, without a validation split.
    """
    if isinstance(data, InMemory):
        raise ValueError(
            "operating_point is chosen on validation images, and the data are tensors without "
            "any; give medrobust.evaluate a datamodule"
        )
    return load(data, "val")


def thresholds(cell: Cell, runner: Runner) -> tuple[list[float] | None, str | None]:
    """Return the threshold of each class's log-odds, and the key of the answers it is chosen on.

    The deployed system, victim and defense, answers the clean validation images once, in the first
    draw of a randomized defense; every attack and draw is judged at the same thresholds. The
    answers are cached like those to any images. Both are None if the cell asks for none.
    """
    if cell.operating_point is None or cell.validation is None:
        return None, None
    known = cell.validation
    check_labels(known.labels, cell.classes)
    found = answers(cell.defense, cell.victim, known, runner, seed=cell.seed)
    assert found.log_odds is not None
    silent = torch.zeros(len(known), dtype=torch.bool) if found.abstain is None else found.abstain
    chosen = choose_thresholds(
        found.log_odds.numpy(), known.labels.numpy(), ~silent.numpy(), cell.operating_point
    )
    return chosen, found.key
