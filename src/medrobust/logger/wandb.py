"""Logger to Weights & Biases, online or into a folder that `wandb sync` uploads later."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    """Return the mode of wandb, so that it never prompts for a login.

    Args:
        mode: configured mode. `auto` follows WANDB_MODE; without it, online if logged in, else
            offline.
        environment: environment variables.
        login: whether an API key is known.

    Returns:
        `online`, `offline` or `disabled`.

    Raises:
        ValueError: the mode is unknown, or online without a login.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"logger.mode={mode!r}, expected one of {get_args(Mode)}")
    named = environment.get("WANDB_MODE")
    wanted = (named or ("online" if login else "offline")) if mode == "auto" else mode
    wanted = {"dryrun": "offline"}.get(wanted, wanted)  # wandb's older name, also set by Lightning
    if wanted not in ("online", "offline", "disabled"):
        raise ValueError(f"WANDB_MODE={named!r}, expected online, offline or disabled")
    if wanted == "online" and not login:
        raise ValueError(
            "wandb cannot log online without a login: run `wandb login`, set WANDB_API_KEY, "
            "or set logger.mode=offline and upload later with `wandb sync <folder>`"
        )
    return wanted


class WandbLogger(LightningWandbLogger, CellLogger):
    """One wandb run per training or cell.

    Args:
        folder: folder of wandb's files.
        project: wandb project.
        mode: `auto`, `online` or `offline`, see `resolve_mode`.
        group: group of the run, such as a table's name.
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
        self._row: Row | None = None

    def log_row(self, row: "Row") -> None:
        """Log config and names as the run's config and tags, and numbers as its summary."""
        self._row = row
        run = self.experiment
        run.tags = tuple(dict.fromkeys((*(run.tags or ()), *tags_of(row))))
        names = {"row": row.id, "cell": row.cell, "overrides": row.overrides}
        run.config.update({**row.config, **names}, allow_val_change=True)
        numbers = summary_of(row)
        if numbers:
            run.log(numbers)  # also sets the summary; only logged values get panels
        run.summary.update({"status": row.status, "n": row.n, "phantom": row.phantom})
        if row.flags:
            run.summary.update({"flags": "; ".join(flag.text for flag in row.flags)})
        if row.error is not None:
            run.summary.update({"error": row.error.rstrip().splitlines()[-1]})

    def log_matrix(self, name: str, matrix: "DataFrame") -> None:
        """Log a `wandb.Table`."""
        import wandb

        frame = matrix.reset_index() if matrix.index.name is not None else matrix
        columns: list[str | int] = [str(column) for column in frame.columns]
        # As plain lists: wandb expects dtypes that newer pandas renamed.
        data = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
        with _staged_in(self.save_dir):
            self.experiment.log({name: wandb.Table(columns=columns, data=data)})

    def log_confusion(self, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
        """Log the counts as the table `confusion`."""
        from pandas import DataFrame, Index

        index = Index(list(classes), name="true")
        self.log_matrix("confusion", DataFrame(list(counts), index=index, columns=list(classes)))

    def log_images(
        self, name: str, images: Sequence[Picture], captions: Sequence[str] | None = None
    ) -> None:
        """Log a `wandb.Table` with one line per picture and the cell's names to filter by.

        The same pictures are logged as media under `<name>/pictures`, for a media panel.
        """
        import wandb

        captions = [""] * len(images) if captions is None else captions
        names = {} if self._row is None else self._row.cell
        table = wandb.Table(columns=[*names, "caption", "picture"])
        media = []
        with _staged_in(self.save_dir):
            for image, text in zip(images, captions, strict=True):
                media.append(wandb.Image(image, caption=text))
                table.add_data(*names.values(), text, wandb.Image(image))
            self.experiment.log({name: table, f"{name}/pictures": media})

    def finish(self) -> None:
        """End the run, so that the next cell of a sweep starts its own."""
        if self._experiment is not None:
            failed = self._row is not None and self._row.status == "failed"
            self._experiment.finish(exit_code=int(failed))
            self._experiment = None
            self._row = None


@contextmanager
def _staged_in(folder: str | None) -> Iterator[None]:
    """Stage uploads of tables below the run's folder instead of the home folder.

    An offline run is synced from there, possibly on another machine of the cluster.
    """
    key = "WANDB_DATA_DIR"
    if folder is None or key in os.environ:
        yield
        return
    os.environ[key] = str(Path(folder).resolve() / "wandb" / "data")
    try:
        yield
    finally:
        del os.environ[key]


def tags_of(row: "Row") -> list[str]:
    """Return tags of a row: `attack=pgd` …, and `phantom`, `flagged` or `failed`."""
    names = [f"{axis}={name}" for axis, name in row.cell.items() if name]
    marks = {"phantom": row.phantom, "flagged": bool(row.flags), "failed": row.status == "failed"}
    # wandb rejects longer tags; the config has the whole name.
    return [tag[:64] for tag in (*names, *(mark for mark, holds in marks.items() if holds))]


def logged_in(environment: Mapping[str, str]) -> bool:
    """Return whether an API key is known, from WANDB_API_KEY or the netrc file."""
    if environment.get("WANDB_API_KEY"):
        return True
    host = urlparse(environment.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    file = Path(environment.get("NETRC") or Path.home() / ".netrc")
    try:
        return host is not None and netrc(file).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False
