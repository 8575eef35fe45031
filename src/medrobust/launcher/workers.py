"""Launcher of `hydra/launcher=joblib`: worker processes of this machine."""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hydra.core.utils import JobReturn
from joblib import Parallel, cpu_count, delayed
from joblib.externals.loky.process_executor import BrokenProcessPool

from medrobust.launcher.gpu import visible_gpus
from medrobust.launcher.job import Job, lost, settled

_log = logging.getLogger(__name__)


def run(jobs: Sequence[Job], n_jobs: int, **settings: Any) -> list[JobReturn]:
    """Run jobs in worker processes.

    A killed worker breaks the whole pool without naming the job at fault. The jobs that were
    running are set aside and a new pool runs the others. In the end each job set aside runs in a
    pool of its own, so only a job that is killed again is lost.

    Args:
        jobs: jobs to run.
        n_jobs: number of workers; -1 for one per CPU.
        settings: settings of `joblib.Parallel`.

    Returns:
        The results of the jobs, in order.
    """
    gpus = visible_gpus()
    jobs = [replace(job, gpus=gpus, launcher=os.getpid()) for job in jobs]
    workers = max(1, cpu_count() + 1 + n_jobs) if n_jobs < 0 else n_jobs
    results: dict[int, JobReturn] = {}
    waiting, suspects = list(jobs), list[Job]()
    while waiting:
        _pool(waiting, workers, settings, results)
        waiting = [job for job in waiting if job.number not in results]
        # Jobs start in order, so the first unfinished ones were running.
        under_way, waiting = waiting[:workers], waiting[workers:]
        suspects += under_way
        if under_way:
            names = ", ".join(str(job.number) for job in under_way)
            _log.error("a worker was killed; jobs %s are tried again at the end", names)
    for job in suspects:
        # With one worker joblib would run it in this process, which must not be killed.
        _pool([job], 2, settings, results)
    return [
        settled(job, results[job.number])
        if job.number in results
        else lost(job, "its worker was killed twice, by the system (out of memory?) or by hand")
        for job in jobs
    ]


def _pool(
    jobs: Sequence[Job], workers: int, settings: dict[str, Any], results: dict[int, JobReturn]
) -> None:
    """Run jobs until all are done or a worker is killed, and add finished ones to `results`."""
    pool = Parallel(
        n_jobs=workers,
        backend="loky",
        batch_size=1,
        return_as="generator_unordered",
        **settings,
    )
    try:
        for number, result in pool(delayed(_numbered)(job) for job in jobs):
            results[number] = result
    except BrokenProcessPool as error:
        _log.debug("%s", error)


def _numbered(job: Job) -> tuple[int, JobReturn]:
    return job.number, job()
