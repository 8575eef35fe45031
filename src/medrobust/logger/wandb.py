"""Logs to Weights & Biases, online or into a folder that `wandb sync` uploads later."""

import os
from collections.abc import Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.parse import urlparse

from pytorch_lightning.loggers import WandbLogger as LightningWandbLogger
from wandb import Settings

from medrobust.logger.base import CellLogger, Picture, summary_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from medrobust.result.row import Row

Mode = Literal["auto", "online", "offline"]


def resolve_mode(mode: Mode, environment: Mapping[str, str], *, login: bool) -> str:
    """Where wandb writes: nobody is ever asked to log in.

    Args:
        mode: as configured. `auto` is what WANDB_MODE says; without it online if logged in, else
            offline.
        environment: environment variables.
        login: an API key is known.

    Returns:
        `online`, `offline` or `disabled`.

    Raises:
        ValueError: no such mode, or online without a login.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"logger.mode={mode!r}, expected one of {get_args(Mode)}")
    named = environment.get("WANDB_MODE")
    wanted = (named or ("online" if login else "offline")) if mode == "auto" else mode
    wanted = {"dryrun": "offline"}.get(wanted, wanted)  # wandb's older word, set by Lightning too
    if wanted not in ("online", "offline", "disabled"):
        raise ValueError(f"WANDB_MODE={named!r}, expected online, offline or disabled")
    if wanted == "online" and not login:
        raise ValueError(
            "wandb should log online, but no login is known: run `wandb login`, set WANDB_API_KEY, "
            "or set logger.mode=offline and upload later with `wandb sync <folder>`"
        )
    return wanted


class WandbLogger(LightningWandbLogger, CellLogger):
    """One wandb run per training or cell.

    Args:
        folder: where wandb keeps its files.
        project: wandb project.
        mode: `auto`, `online` or `offline`, see `resolve_mode`.
        group: runs shown together, such as a table's name.
        name: display name; None lets wandb choose one.
        tags: labels to filter by.
        entity: user or team; None for the login's own.
    """

    def __init__(
        self,
        folder: str,
        *,
        project: str = "medrobust",
        mode: Mode = "auto",
        group: str | None = None,
        name: str | None = None,
        tags: Sequence[str] = (),
        entity: str | None = None,
    ) -> None:
        self.mode = resolve_mode(mode, os.environ, login=logged_in(os.environ))
        Path(folder).mkdir(parents=True, exist_ok=True)  # wandb falls back to /tmp without it
        settings: dict[str, Any] = {
            "mode": self.mode,
            "group": group,
            "entity": entity,
            "tags": [str(tag) for tag in tags],
            "settings": Settings(console="off"),  # Hydra keeps the output already
        }
        super().__init__(name=name, save_dir=folder, project=project, **settings)
        self._wandb_init.pop("anonymous", None)  # Lightning's; wandb warns that it has no effect

    def log_row(self, row: "Row") -> None:
        """Config as the run's config, numbers and identity as its summary."""
        run = self.experiment
        run.config.update({**row.config, "row": row.id}, allow_val_change=True)
        run.summary.update({**summary_of(row), "status": row.status, "n": row.n})

    def log_matrix(self, name: str, matrix: "DataFrame") -> None:
        """Log a `wandb.Table`."""
        import wandb

        frame = matrix.reset_index() if matrix.index.name is not None else matrix
        columns: list[str | int] = [str(column) for column in frame.columns]
        # Through plain lists: wandb reads a pandas frame by dtypes that newer pandas renamed.
        data = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
        self.experiment.log({name: wandb.Table(columns=columns, data=data)})

    def log_confusion(self, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
        """Log the counts as the table `confusion`."""
        from pandas import DataFrame, Index

        index = Index(list(classes), name="true")
        self.log_matrix("confusion", DataFrame(list(counts), index=index, columns=list(classes)))

    def log_images(
        self, name: str, images: Sequence[Picture], captions: Sequence[str] | None = None
    ) -> None:
        """Log `wandb.Image`s."""
        import wandb

        captions = [""] * len(images) if captions is None else captions
        pairs = zip(images, captions, strict=True)
        self.experiment.log({name: [wandb.Image(image, caption=text) for image, text in pairs]})

    def finish(self) -> None:
        """End the run, so that the next cell of a sweep begins its own."""
        if self._experiment is not None:
            self._experiment.finish()
            self._experiment = None


def logged_in(environment: Mapping[str, str]) -> bool:
    """Whether wandb would find an API key without asking: in WANDB_API_KEY or the netrc file."""
    if environment.get("WANDB_API_KEY"):
        return True
    host = urlparse(environment.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    file = Path(environment.get("NETRC") or Path.home() / ".netrc")
    try:
        return host is not None and netrc(file).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
