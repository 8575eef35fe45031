"""Launchers `hydra/launcher=joblib`, `submitit_local` and `submitit_slurm`.

Hydra imports this file at every start, so nothing heavy or optional is imported at its top.

Hydra's own plugins of these names raise as soon as one process is killed, which abandons running
jobs and skips the table. These launchers log a lost job, wait for the others, and return.
"""

import logging
from abc import abstractmethod
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, configure_log, filter_overrides, setup_globals
from hydra.errors import ConfigCompositionException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

_log = logging.getLogger(__name__)


class _SurvivingLauncher(Launcher):
    """Base class of launchers in other processes, where a lost job does not end the others.

    Args:
        settings: the other keys of the launcher's config.

    Raises:
        ConfigCompositionException: the required library is not installed.
    """

    library: str

    def __init__(self, **settings: Any) -> None:
        if find_spec(self.library) is None:
            raise ConfigCompositionException(
                f"this hydra/launcher needs {self.library}, which is not installed; "
                "run: pip install 'medrobust[launchers]'"
            )
        self.settings: dict[str, Any] = {
            key: OmegaConf.to_container(value, resolve=True)
            if OmegaConf.is_config(value)
            else value
            for key, value in settings.items()
        }

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Store what a job needs; called by Hydra."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run the jobs and wait for all of them.

        Args:
            job_overrides: overrides per job.
            initial_job_idx: number of the first job.

        Returns:
            The results of the jobs, in order; a lost job has the value None.
        """
        from medrobust.launcher.job import make_jobs

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        _log.info("%s: %d jobs", type(self).__name__, len(job_overrides))
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            _log.info("\t#%d : %s", number, " ".join(filter_overrides(overrides)))
        jobs = make_jobs(self.context, self.task, self.config, job_overrides, initial_job_idx)
        return self._run(jobs)

    @abstractmethod
    def _run(self, jobs: list[Any]) -> list[JobReturn]: ...


class JoblibLauncher(_SurvivingLauncher):
    """Launcher to worker processes of this machine, each of which runs one job at a time."""

    library = "joblib"

    def _run(self, jobs: list[Any]) -> list[JobReturn]:
        from medrobust.launcher.workers import run

        return run(jobs, **self.settings)


class LocalLauncher(_SurvivingLauncher):
    """Launcher to one process of this machine per job, with a time limit."""

    library = "submitit"

    def _run(self, jobs: list[Any]) -> list[JobReturn]:
        from medrobust.launcher.local import run

        return run(jobs, **self.settings)


class SlurmLauncher(_SurvivingLauncher):
    """Launcher to one Slurm job array per sweep, with a task per job."""

    library = "submitit"

    def _run(self, jobs: list[Any]) -> list[JobReturn]:
        from medrobust.launcher.slurm import run

        return run(jobs, **self.settings)
