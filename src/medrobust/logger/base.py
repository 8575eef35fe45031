"""Base class of the loggers, which extends Lightning's for the evaluation."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning.loggers import Logger

if TYPE_CHECKING:
    from pandas import DataFrame

    from medrobust.result.row import Row

Picture: TypeAlias = NDArray[np.uint8]


def summary_of(row: "Row") -> dict[str, float]:
    """Return a row's numbers under flat names, `<condition>/<metric>`.

    The condition is `clean` for metrics of the clean images, else the attack, so that runs grouped
    by defense form a line of the matrix: `clean/accuracy`, `pgd/accuracy`,
    `pgd/attack_success_rate`. Checks are `check/<name>`, seconds `seconds/<name>`.
    """
    attack = row.cell["attack"].replace("/", "_")  # choices may be in a subfolder
    return {
        **{_measured(name, attack): value for name, value in row.metrics.items()},
        **{f"check/{name}": value for name, value in row.checks.items()},
        **{f"seconds/{name}": value for name, value in row.seconds.items()},
    }


def _measured(name: str, attack: str) -> str:
    metric = name.removeprefix("clean_")
    return f"{attack if metric == name else 'clean'}/{metric}"


class CellLogger(Logger):
    """Base class of loggers of one cell of the benchmark: its row, tables and images.

    It is also a Lightning logger, so that the same config serves training.
    """

    @abstractmethod
    def log_row(self, row: "Row") -> None:
        """Log a row's config, and its numbers as the summary."""

    @abstractmethod
    def log_matrix(self, name: str, matrix: "DataFrame") -> None:
        """Log a table such as accuracy by attack and defense.

        Args:
            name: name of letters, digits, `_`, `-`, and `/` for groups.
            matrix: table; a named index becomes a column.
        """

    @abstractmethod
    def log_confusion(self, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
        """Log a confusion matrix: counts by true class (rows) and predicted class (columns)."""

    @abstractmethod
    def log_images(
        self, name: str, images: Sequence[Picture], captions: Sequence[str] | None = None
    ) -> None:
        """Log pictures (H, W, 3) uint8, each with its caption."""

    @abstractmethod
    def finish(self) -> None:
        """Write everything out; the logger must not be used afterwards."""
