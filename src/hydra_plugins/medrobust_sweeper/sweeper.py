"""Sweeper `hydra/sweeper=matrix`.

Hydra imports this file at every start, so nothing heavy is imported at its top.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper as HydrasBasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from hydra_plugins.medrobust_sweeper.product import jobs


class BasicSweeper(HydrasBasicSweeper):
    """Hydra's basic sweeper with several products in one sweep and a faster start.

    Hydra's composes every job twice, once before the sweep to find mistakes early. That is half of
    a cell's overhead and grows with the product of the choices. This sweeper composes only as many
    jobs before the sweep as are needed to see every choice once. They reveal an unknown choice or
    key as well, because every job of a product has all of its keys.

    Args:
        max_batch_size: number of jobs that a launcher gets at once; None for all.
        params: key -> choices, separated by commas.
        blocks: further products; see `product.jobs`.
    """

    def __init__(
        self,
        max_batch_size: int | None,
        params: dict[str, str] | None = None,
        blocks: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(max_batch_size, params)
        self.blocks = blocks

    def _parse_config(self) -> list[str]:
        return []  # `split_arguments` adds the params, which a block may replace

    def split_arguments(  # type: ignore[override]  # Hydra's is static
        self, overrides: list[Override], max_batch_size: int | None
    ) -> list[list[list[str]]]:
        """Return the jobs in batches.

        Args:
            overrides: overrides of the command line.
            max_batch_size: jobs per batch; None for one batch.
        """
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        lines = [str(override.input_line) for override in overrides]
        made = jobs(self.params, self.blocks, lines, parser)
        return [list(batch) for batch in self.split_overrides_to_chunks(made, max_batch_size)]

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose a few jobs that together have every override of the batch.

        Raises:
            HydraException: a choice or key does not exist.
        """
        super().validate_batch_is_legal(covering(batch))


def covering(batch: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Return the jobs that add an override to the earlier jobs with the same keys."""
    seen: set[tuple[frozenset[str], str]] = set()
    chosen = []
    for job in batch:
        keys = frozenset(override.partition("=")[0] for override in job)
        words = {(keys, override) for override in job}
        if not seen.issuperset(words):
            chosen.append(job)
            seen |= words
    return chosen
