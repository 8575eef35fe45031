"""Launcher of `hydra/launcher=submitit_slurm`: one Slurm job array per sweep."""

import logging
from collections.abc import Sequence
from typing import Any

import submitit
from hydra.core.utils import JobReturn
from submitit.slurm.slurm import SlurmInfoWatcher

from medrobust.launcher.job import Job
from medrobust.launcher.outcome import outcome

_log = logging.getLogger(__name__)

# Parameters that submitit has for every cluster; it expects the prefix `slurm_` on all others.
_COMMON = {
    "cpus_per_task",
    "gpus_per_node",
    "mem_gb",
    "name",
    "stderr_to_stdout",
    "timeout_min",
}
_POLL_SECONDS = 20


class QueueWatcher(SlurmInfoWatcher):
    """Watcher that queries `squeue` for the state of jobs.

    submitit queries `sacct`, which needs accounting; on a cluster without it, it would wait forever
    for a cancelled job. A job that is no longer in the queue counts as finished.
    """

    def _make_command(self) -> list[str] | None:
        if not self._registered - self._finished:
            return None
        return ["squeue", "--me", "--states=all", "--array", "--format=%i|%T|%N"]

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """Parse the output of `squeue` into states by job id."""
        text = string if isinstance(string, str) else string.decode()
        rows = [line.strip().split("|") for line in text.splitlines()[1:]]
        listed = {
            job: {"JobID": job, "State": state, "NodeList": nodes} for job, state, nodes in rows
        }
        gone = {job: {"JobID": job, "State": "GONE"} for job in self._registered}
        return gone | listed


def run(
    jobs: Sequence[Job], submitit_folder: str, max_num_timeout: int, **settings: Any
) -> list[JobReturn]:
    """Submit jobs as an array and wait for all of them.

    Args:
        jobs: jobs to run.
        submitit_folder: folder of logs and pickles, visible to all nodes.
        max_num_timeout: number of requeues of a job that ran out of time.
        settings: settings of submitit and `sbatch`.

    Returns:
        The results of the jobs, in order.
    """
    submitit.SlurmJob.watcher = QueueWatcher(delay_s=_POLL_SECONDS)
    executor = submitit.AutoExecutor(
        submitit_folder, cluster="slurm", slurm_max_num_timeout=max_num_timeout
    )
    executor.update_parameters(
        **{key if key in _COMMON else f"slurm_{key}": value for key, value in settings.items()}
    )
    tickets = executor.submit_array(list(jobs))
    _log.info("submitted to Slurm: %s", ", ".join(ticket.job_id for ticket in tickets))
    return [outcome(job, ticket) for job, ticket in zip(jobs, tickets, strict=True)]
