"""Hydra callback that ends a sweep with its table and an exit status."""

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from medrobust.report.sweep import Sweep
    from medrobust.report.table.table import Table


class TableCallback(Callback):
    """Check the table's config before a sweep and build the table after it.

    Hydra turns exceptions of callbacks into warnings and exits with 0. This callback therefore
    raises `SystemExit`: status 1 when a cell failed or is missing, 2 when the table cannot be
    built. The rows are kept in either case.

    Args:
        formats: files to write, from `write.FORMATS`; None for all.
        keys: dotted name of a mapping of the allowed config keys to their types, such as
            `medrobust.keys.EVALUATE`; None allows any key.
    """

    def __init__(self, formats: Sequence[str] | None = None, keys: str | None = None) -> None:
        self.formats, self.keys = formats, keys

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the `table` node and save the plan before the first job."""
        _guarded(lambda: self._start(config))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write and print the table of the sweep."""
        _guarded(lambda: self._end(config))

    def _start(self, config: DictConfig) -> int:
        from hydra.utils import get_object

        from medrobust.invocation import this_command
        from medrobust.report.figure.core.kinds import parse
        from medrobust.report.sweep import Plan, forget
        from medrobust.report.table.config import TableConfig
        from medrobust.report.write import check_formats
        from medrobust.typed import check_config

        check_formats(self.formats or ())
        if self.keys is not None:
            check_config(config, get_object(self.keys), running=False)
        node = OmegaConf.select(config, "table")
        table = {} if node is None else OmegaConf.to_container(node, resolve=True)
        if not isinstance(table, dict):
            raise TypeError(f"`table` in the config is {table!r}, expected a mapping")
        plain = {str(key): value for key, value in table.items()}
        TableConfig.parse(plain).check_metrics()
        figure = plain_figure(config)
        parse(figure)
        folder = Path(config.hydra.sweep.dir)
        forget(folder)
        Plan(plain, planned_jobs(config), this_command(config.hydra.job.name), figure).write(folder)
        return 0

    def _end(self, config: DictConfig) -> int:
        from medrobust.report.sweep import collect, records_of
        from medrobust.report.table.pivot import build
        from medrobust.report.write import FORMATS, report

        formats = FORMATS if self.formats is None else tuple(self.formats)
        sweep = collect(config.hydra.sweep.dir)
        status = report(sweep, formats=formats)
        if sweep.rows:
            _log_matrix(config, build(sweep.rows, sweep.config, records_of(sweep)), sweep)
        return status


def plain_figure(config: DictConfig) -> Any:
    """Return the `figure` node of a composed config as plain data, None when there is none."""
    node = OmegaConf.select(config, "figure")
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def planned_jobs(config: DictConfig) -> list[list[str]] | None:
    """Return each job's overrides, as Hydra's basic sweeper or ours will run them.

    Args:
        config: the composed config of the sweep, with its `hydra` node.

    Returns:
        Overrides per job, in order; None for other sweepers, which choose jobs while running.
    """
    if not config.hydra.sweeper._target_.endswith(".BasicSweeper"):
        return None
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from hydra_plugins.medrobust_sweeper.product import jobs

    node = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    assert isinstance(node, dict)
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    arguments = list(config.hydra.overrides.task)
    return jobs(node.get("params"), node.get("blocks"), arguments, parser)


def _log_matrix(config: DictConfig, table: "Table", sweep: "Sweep") -> None:
    """Log the matrix and the figures as one more run of the sweep's group."""
    from hydra.utils import instantiate

    folder = Path(config.hydra.sweep.dir)
    node = OmegaConf.to_container(OmegaConf.select(config, "logger") or DictConfig({}))
    if not isinstance(node, dict) or not node:
        return  # an app without a logger
    # The sweep itself is no job, so its folder, group and choices cannot be interpolated.
    ours = {"folder": str(folder / "matrix"), "group": folder.name, "name": "matrix"}
    logger = instantiate(node | {key: value for key, value in ours.items() if key in node})
    from medrobust.report.figure.core.draw import draw
    from medrobust.report.render import tidy

    drawn, _ = draw(sweep)
    logger.log_matrix("matrix", tidy.frame(table))
    if drawn:
        import io

        import numpy as np
        from PIL import Image

        pictures = [np.asarray(Image.open(io.BytesIO(one.png)).convert("RGB")) for one in drawn]
        logger.log_images("figure", pictures, [f"{one.name}: {one.caption}" for one in drawn])
    logger.finish()


def _guarded(step: Callable[[], int]) -> None:
    try:
        status = step()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        status = 2
    except Exception:  # Hydra would turn it into a warning and exit with 0
        traceback.print_exc()
        status = 2
    sys.stdout.flush()
    if status:
        raise SystemExit(status)
