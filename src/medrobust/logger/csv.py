"""Logger to a folder of plain files."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_lightning.loggers import CSVLogger

from medrobust.logger.base import CellLogger, Picture, summary_of
from medrobust.spreadsheet import inert

if TYPE_CHECKING:
    from pandas import DataFrame

    from medrobust.result.row import Row


class CsvLogger(CSVLogger, CellLogger):
    """Logger that writes `metrics.csv`, `config.json`, `<table>.csv` and `<name>/<i>.png`.

    Args:
        folder: output folder.
    """

    def __init__(self, folder: str | Path) -> None:
        # Without these Lightning adds <name>/version_<i>, but the run has a new folder already.
        super().__init__(save_dir=folder, name="", version="")
        self.folder = Path(folder)

    def log_row(self, row: "Row") -> None:
        """Write the config to `config.json` and the numbers to `metrics.csv`."""
        self.log_metrics({**summary_of(row)}, step=0)
        self.save()
        path = self._file("config", ".json")
        path.write_text(json.dumps(row.config, indent=1, sort_keys=True), encoding="utf-8")

    def log_matrix(self, name: str, matrix: "DataFrame") -> None:
        """Write `<name>.csv`, with an apostrophe before text that looks like a formula."""
        marked = matrix.map(inert).rename(index=inert, columns=inert)
        marked.to_csv(self._file(name, ".csv"), index=matrix.index.name is not None)

    def log_confusion(self, counts: Sequence[Sequence[int]], classes: Sequence[str]) -> None:
        """Write `confusion.csv` with true classes as rows and predicted ones as columns."""
        from pandas import DataFrame, Index

        index = Index(list(classes), name="true")
        self.log_matrix("confusion", DataFrame(list(counts), index=index, columns=list(classes)))

    def log_images(
        self, name: str, images: Sequence[Picture], captions: Sequence[str] | None = None
    ) -> None:
        """Write `<name>/<i>.png`, with the caption inside the file and in `captions.txt`."""
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        captions = [""] * len(images) if captions is None else captions
        for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
            info = PngInfo()
            info.add_itxt("Description", caption)
            Image.fromarray(image).save(self._file(f"{name}/{index}", ".png"), pnginfo=info)
        if any(captions):
            lines = "".join(f"{index}\t{caption}\n" for index, caption in enumerate(captions))
            self._file(f"{name}/captions", ".txt").write_text(lines, encoding="utf-8")

    def finish(self) -> None:
        """Write `metrics.csv` if there are metrics."""
        if self._experiment is not None:
            self.save()

    def _file(self, name: str, suffix: str) -> Path:
        if not re.fullmatch(r"[\w-]+(/[\w-]+)*", name):
            raise ValueError(f"log name {name!r}: expected letters, digits, _ and -, and / between")
        path = self.folder / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
