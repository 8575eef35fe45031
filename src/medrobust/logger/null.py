"""Logger that logs nothing."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytorch_lightning.loggers.logger import DummyLogger

from medrobust.logger.base import CellLogger, Picture

if TYPE_CHECKING:
    from pandas import DataFrame

    from medrobust.result.row import Row


class NullLogger(DummyLogger, CellLogger):
    """Logger that discards everything."""

    def log_row(self, row: "Row") -> None:
        """Do nothing."""

    def log_matrix(self, name: str, matrix: "DataFrame") -> None:
        """Do nothing."""

    def log_confusion(self, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
        """Do nothing."""

    def log_images(
        self, name: str, images: Sequence[Picture], captions: Sequence[str] | None = None
    ) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""
