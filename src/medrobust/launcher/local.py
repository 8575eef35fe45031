"""Launcher of `hydra/launcher=submitit_local`: one process of this machine per job."""

import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import submitit
from hydra.core.utils import JobReturn, env_override

from medrobust.launcher.gpu import visible_gpus
from medrobust.launcher.job import Job
from medrobust.launcher.outcome import outcome

_POLL_SECONDS = 0.2


def run(
    jobs: Sequence[Job],
    submitit_folder: str,
    array_parallelism: int,
    max_num_timeout: int = 0,
    **settings: Any,
) -> list[JobReturn]:
    """Run jobs in processes, several at once.

    Args:
        jobs: jobs to run.
        submitit_folder: folder of the processes' logs and pickles.
        array_parallelism: number of jobs at once.
        max_num_timeout: number of restarts of a job that ran out of time.
        settings: settings of `submitit.LocalExecutor`.

    Returns:
        The results of the jobs, in order.

    Raises:
        ValueError: `array_parallelism` is below 1.
    """
    if array_parallelism < 1:
        raise ValueError(
            f"hydra.launcher.array_parallelism={array_parallelism}, expected 1 or more"
        )
    gpus = visible_gpus()
    share = str(max(1, len(os.sched_getaffinity(0)) // array_parallelism))
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", share)}
    executor = submitit.LocalExecutor(submitit_folder, max_num_timeout=max_num_timeout)
    executor.update_parameters(**settings)
    waiting = deque(replace(job, gpus=gpus, launcher=os.getpid()) for job in jobs)
    running: list[tuple[Job, submitit.Job[JobReturn]]] = []
    results: dict[int, JobReturn] = {}
    try:
        while waiting or running:
            while waiting and len(running) < array_parallelism:
                job = waiting.popleft()
                with env_override(threads):
                    running.append((job, executor.submit(job)))
            over = [pair for pair in running if pair[1].done()]
            running = [pair for pair in running if pair not in over]
            results |= {job.number: outcome(job, ticket) for job, ticket in over}
            time.sleep(_POLL_SECONDS)
    finally:  # stop the remaining processes of an interrupted sweep
        for _, ticket in running:
            ticket.cancel()
    return [results[job.number] for job in jobs]
