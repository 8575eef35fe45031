"""What `hydra/sweeper=matrix` stands for.

Hydra imports this file whenever it starts, so nothing heavy is imported at its top.
"""

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper as HydrasBasicSweeper


class BasicSweeper(HydrasBasicSweeper):
    """Hydra's own, which composes every job twice: once before the sweep, to find mistakes early.

    That is half of what a cell costs besides its work, and grows with the product of the choices.
    Here only as many jobs are composed before the sweep as show every choice once. Whether a
    choice exists, and whether another may set a key inside it, is seen in any job that has both
    keys, and every job has them all.
    """

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose a few jobs that hold every override of the batch between them.

        Raises:
            HydraException: a choice or key does not exist.
        """
        super().validate_batch_is_legal(covering(batch))


def covering(batch: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The jobs, in order, that hold an override which no job before them holds."""
    seen: set[str] = set()
    chosen = []
    for job in batch:
        if not seen.issuperset(job):
            chosen.append(job)
            seen.update(job)
    return chosen
