"""Job of a sweep that can be sent to another process."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from medrobust.launcher.gpu import claim
from medrobust.signals import end_with

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Callable that runs one job of a sweep in any process.

    Attributes:
        context: Hydra's config loader and callbacks.
        task: function to run.
        config: config of the sweep.
        overrides: overrides of this job.
        number: number of the job in its sweep.
        state: Hydra's global state in the launching process.
        gpus: GPUs to claim one of, once per process; None to claim none.
        launcher: id of the launching process on this machine, with which the job's process ends;
            None where another machine may run it.
    """

    context: HydraContext
    task: TaskFunction
    config: DictConfig
    overrides: list[str]
    number: int
    state: Any
    gpus: tuple[str, ...] | None = None
    launcher: int | None = None

    def __call__(self) -> JobReturn:
        """Run the job like Hydra's own launcher; an exception of the task is in the result."""
        if self.launcher is not None:
            _end_with_launcher(self.launcher)
        if self.gpus is not None:
            claim(self.gpus)
        Singleton.set_state(self.state)
        setup_globals()
        config = self.context.config_loader.load_sweep_config(self.config, self.overrides)
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{self.number}"
            config.hydra.job.num = self.number
        HydraConfig.instance().set_config(config)
        result = run_job(
            hydra_context=self.context,
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
        if result.status == JobStatus.FAILED:  # sending the result back would lose the traceback
            _log.error("job %d raised", self.number, exc_info=result._return_value)
        return result

    def checkpoint(self) -> Any:
        """Return this job, which submitit requeues after a preemption; finished rows are kept."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


@lru_cache(maxsize=1)
def _end_with_launcher(launcher: int) -> None:
    """Tie this process to its launcher, once."""
    end_with(launcher)


def make_jobs(
    context: HydraContext,
    task: TaskFunction,
    config: DictConfig,
    job_overrides: Sequence[Sequence[str]],
    first: int,
) -> list[Job]:
    """Return the jobs of a sweep, numbered from `first`."""
    state = Singleton.get_state()
    return [
        Job(context, task, config, list(overrides), number, state)
        for number, overrides in enumerate(job_overrides, first)
    ]


def settled(job: Job, result: JobReturn) -> JobReturn:
    """Return the result, or that of a lost job if the task raised."""
    if result.status == JobStatus.COMPLETED:
        return result
    return lost(job, f"{result._return_value!r}; traceback: in the log of its folder")


def lost(job: Job, why: object) -> JobReturn:
    """Log a job that ended without a result, and return a placeholder.

    Its status is "completed" without a value, since Hydra's sweeper raises on any other status and
    makes no table. The table names the job as missing, and the exit status is not zero.
    """
    _log.error("job %d is lost: %s", job.number, why)
    return JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
