"""`hydra/launcher=joblib`: jobs in worker processes of this machine."""

import logging
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
    """Run jobs in workers.

    A killed worker takes the pool's other workers along, and nobody says whose fault it was. The
    jobs that were under way are put aside, a new pool does the others, and at last each of those
    put aside has a pool of its own: the one that is killed again is lost, the rest are not.

    Args:
        jobs: to run.
        n_jobs: workers; -1 = one per CPU.
        settings: for `joblib.Parallel`.

    Returns:
        What each job returned, in order.
    """
    gpus = visible_gpus()
    jobs = [replace(job, gpus=gpus) for job in jobs]
    workers = max(1, cpu_count() + 1 + n_jobs) if n_jobs < 0 else n_jobs
    results: dict[int, JobReturn] = {}
    waiting, suspects = list(jobs), list[Job]()
    while waiting:
        _pool(waiting, workers, settings, results)
        waiting = [job for job in waiting if job.number not in results]
        # Jobs start in order, so the first unfinished ones were under way.
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
    """Run jobs until all are done or a worker is killed; add what is done to the results."""
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
