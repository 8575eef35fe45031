"""Jobs of a command line as Hydra would run them, composed and not run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser, run_and_report
from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import setup_globals
from hydra.errors import HydraException, SearchPathException
from hydra.types import RunMode
from hydra.version import setbase
from omegaconf import DictConfig, open_dict

from medrobust.report.callback import planned_jobs


class Jobs:
    """The jobs of one command line.

    Args:
        words: flags and overrides, as after `medrobust evaluate`.
        folder: folder of the configs.
        name: name of the app and of its config.
    """

    def __init__(self, words: Sequence[str], folder: str, name: str = "evaluate") -> None:
        self._given = get_args_parser().parse_args(list(words))
        setbase("1.3")
        setup_globals()
        GlobalHydra.instance().clear()
        path = run_and_report(lambda: self._search_path(folder))
        self._hydra = Hydra.create_main_hydra2(task_name=name, config_search_path=path)
        self._name = self._given.config_name or name
        self.mode: RunMode = RunMode.MULTIRUN if self._given.multirun else RunMode.RUN
        self.config: DictConfig = run_and_report(self._composed)
        self.overrides: list[list[str]] = run_and_report(self._overrides)

    def __len__(self) -> int:
        """Return the number of jobs."""
        return len(self.overrides)

    def configs(self) -> Iterator[DictConfig]:
        """Yield the config of each job, which is Hydra's global one until the next."""
        for number, overrides in enumerate(self.overrides):
            config = self.config
            if self.mode == RunMode.MULTIRUN:
                loader = self._hydra.config_loader
                config = loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.num, config.hydra.job.id = number, f"{self._name}_{number}"
                config.hydra.runtime.output_dir = config.hydra.run.dir  # named, and not made
            HydraConfig.instance().set_config(config)
            yield config

    def _search_path(self, folder: str) -> ConfigSearchPath:
        path = create_config_search_path(self._given.config_path or folder)
        if self._given.config_dir is not None:
            own = Path(self._given.config_dir).resolve()
            if not own.is_dir():
                raise SearchPathException(f"Additional config directory '{own}' not found")
            anchor = SearchPathQuery(provider="schema")
            path.prepend(provider="command-line", path=f"file://{own}", anchor=anchor)
        return path

    def _composed(self) -> DictConfig:
        words = self._given.overrides
        if self.mode == RunMode.RUN:
            self.mode = self._hydra.get_mode(self._name, words) or RunMode.RUN
        return self._hydra.compose_config(self._name, words, run_mode=self.mode)

    def _overrides(self) -> list[list[str]]:
        if self.mode == RunMode.RUN:
            return [list(self.config.hydra.overrides.task)]
        jobs = planned_jobs(self.config)
        if jobs is None:
            raise HydraException(
                f"hydra.sweeper._target_={self.config.hydra.sweeper._target_} chooses its jobs "
                "while it runs, expected one whose jobs are known before; set hydra/sweeper=matrix"
            )
        return jobs
