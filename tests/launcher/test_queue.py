"""What squeue prints, read as states; no Slurm needed."""

import pytest

pytest.importorskip(
    "submitit", reason="submitit is not installed: pip install 'medrobust[launchers]'"
)

PRINTED = "JOBID|STATE|NODELIST\n7_0|COMPLETED|n1\n7_1|CANCELLED|\n7_2|RUNNING|n2\n7_3|PENDING|\n"


def test_cancelled_and_forgotten_jobs_are_over() -> None:
    from medrobust.launcher.slurm import QueueWatcher

    watcher = QueueWatcher()
    for number in range(5):
        watcher.register_job(f"7_{number}")
    watcher._info_dict.update(watcher.read_info(PRINTED.encode()))
    over = [watcher.is_done(f"7_{number}", mode="cache") for number in range(5)]
    assert over == [True, True, False, False, True]  # the last one is no longer listed
    command = watcher._make_command()
    assert command is not None
    assert command[0] == "squeue"


def test_nothing_is_asked_when_nothing_is_awaited() -> None:
    from medrobust.launcher.slurm import QueueWatcher

    assert QueueWatcher()._make_command() is None
