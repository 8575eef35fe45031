"""What the evaluation asks of every logger, besides what Lightning asks."""

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
    """A row's numbers under flat names, `<condition>/<metric>`.

    The condition of a metric is `clean` when it is of the clean images, else the attack, so that
    runs grouped by defense make a line of the matrix: `clean/accuracy`, `pgd/accuracy`,
    `pgd/attack_success_rate`. Checks are `check/<name>`, seconds `seconds/<name>`.
    """
    attack = row.cell["attack"].replace("/", "_")  # a choice may lie in a folder of choices
    return {
        **{_measured(name, attack): value for name, value in row.metrics.items()},
        **{f"check/{name}": value for name, value in row.checks.items()},
        **{f"seconds/{name}": value for name, value in row.seconds.items()},
    }


def _measured(name: str, attack: str) -> str:
    metric = name.removeprefix("clean_")
    return f"{attack if metric == name else 'clean'}/{metric}"


class CellLogger(Logger):
    """Logs one cell of the benchmark: its row, tables and images.

    It is a Lightning logger too, so that the same config serves training.
    """

    @abstractmethod
    def log_row(self, row: "Row") -> None:
        """Log a row's config and, as summary, its numbers."""

    @abstractmethod
    def log_matrix(self, name: str, matrix: "DataFrame") -> None:
        """Log a table such as accuracy by attack and defense.

        Args:
            name: letters, digits, `_`, `-`, and `/` for groups.
            matrix: its index, if it has a name, becomes a column.
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
        """Write everything out; the logger is not used after it."""
