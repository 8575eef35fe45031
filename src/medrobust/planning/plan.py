"""Plan of a sweep: which cells are done, and how long the others take."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import DictConfig, open_dict

from medrobust.checkpoint import MissingCheckpointError
from medrobust.evaluation.build import data_and_images
from medrobust.evaluation.run import Job
from medrobust.keys import EVALUATE
from medrobust.planning.clock import NOTHING, Estimate, OverTimeError
from medrobust.planning.fits import fits_apart
from medrobust.planning.jobs import Jobs
from medrobust.planning.times import Times
from medrobust.typed import check_config

_SHOWN = ("data", "model", "objective", "threat", "surrogate", "defense", "attack")


@dataclass
class Line:
    """Cells of one combination of names.

    Attributes:
        cells: number of cells.
        done: those that have a row.
        seconds: time of the others that could be estimated.
        unknown: number of cells without an estimate.
    """

    cells: int = 0
    done: int = 0
    seconds: Estimate = NOTHING
    unknown: int = 0


@dataclass(frozen=True)
class Images:
    """Images of a data set that cells are evaluated on.

    Attributes:
        n: number of images.
        asked: `data.limit_<split>`; None for all.
        whole: number of images of the split.
        split: name of the split.
    """

    n: int
    asked: int | None
    whole: int
    split: str


@dataclass
class Plan:
    """Cells, time and images of a sweep.

    Attributes:
        lines: names of data, model, objective, threat, surrogate, defense and attack -> cells.
        images: names of data sets and splits -> images.
        commands: trainings of missing checkpoints, each once, in order.
        problems: error of a cell -> number of cells.
        trains: `train=missing` is set.
        draws: largest number of a randomized defense's draws.
        device: where cells are computed.
        recorded: some times are those of finished rows.
    """

    lines: dict[tuple[str, ...], Line] = field(default_factory=dict)
    images: dict[tuple[str, str], Images] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    problems: dict[str, int] = field(default_factory=dict)
    trains: bool = False
    draws: int = 1
    device: str = "cpu"
    recorded: bool = False

    @property
    def total(self) -> Line:
        """Return the sum of the lines."""
        lines = self.lines.values()
        return Line(
            sum(line.cells for line in lines),
            sum(line.done for line in lines),
            sum((line.seconds for line in lines), NOTHING),
            sum(line.unknown for line in lines),
        )


def plan_of(jobs: Jobs) -> Plan:
    """Plan the jobs of a command line; nothing is written, neither rows nor caches nor folders.

    The exceptions are the manifest and the phantom of a data set that has none yet.
    """
    plan, times = Plan(), Times(len(jobs))
    with TemporaryDirectory() as folder:
        for config in jobs.configs():
            _add(plan, times, config, Path(folder))
    for names, seconds in times.late():
        line = plan.lines[names]
        if seconds is None:
            line.unknown += 1
        else:
            line.seconds += seconds
    plan.recorded = times.recorded
    return plan


def _add(plan: Plan, times: Times, config: DictConfig, folder: Path) -> None:
    job = Job.of(config, HydraConfig.get())
    names = tuple(job.names.get(name, "") for name in _SHOWN)
    line = plan.lines.setdefault(names, Line())
    line.cells += 1
    plan.trains |= config.get("train") is not None
    try:
        check_config(config, EVALUATE)
        with open_dict(config):
            config.defense = fits_apart(config.defense, folder)
        _note_images(plan, config)
        seconds = times.of(config, job, names)
    except OverTimeError:
        line.unknown += 1
    except Exception as caught:
        # Hydra wraps what a constructor raises.
        error = caught.__cause__ if isinstance(caught, InstantiationException) else caught
        if isinstance(error, MissingCheckpointError):
            times.missing(config, job, names)
            if error.train_command not in plan.commands:
                plan.commands.append(error.train_command)
            return
        line.unknown += 1
        text = f"{type(error).__name__}: {error}"
        plan.problems[text] = plan.problems.get(text, 0) + 1
    else:
        plan.device = times.device
        plan.draws = max(plan.draws, times.draws)
        if seconds is None:
            line.done += 1
        else:
            line.seconds += seconds


def _note_images(plan: Plan, config: DictConfig) -> None:
    data, clean = data_and_images(config)
    asked = data.limits[config.split]
    whole = sum(record.split == config.split for record in data.manifest.records)
    plan.images[data.key, config.split] = Images(len(clean), asked, whole, config.split)
