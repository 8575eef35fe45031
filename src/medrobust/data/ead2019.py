"""EAD 2019: artefacts in endoscopic frames, with boxes."""

from pathlib import Path
from typing import Final

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.box import Box, BoxReader, read_boxes
from medrobust.data.core.error import DataError, Origin
from medrobust.data.core.image import Reader
from medrobust.data.core.manifest import Entry
from medrobust.data.phantom.artefact import KINDS, paint_artefacts
from medrobust.data.phantom.store import save_image

_FOLDER: Final = "trainingData_detection"
_IMAGES: Final = (".jpg", ".png")


class EAD2019(MedicalDataModule):
    """Endoscopy Artefact Detection 2019 (Ali et al. 2019, arXiv:1905.03209), seven classes.

    The challenge's test boxes were never published, so the training images are split 8:1:1. An
    image may have no box; its file is then empty. See `MedicalDataModule` for the arguments.
    """

    name = "ead2019"
    task = "detection"
    classes = (
        "specularity",
        "saturation",
        "artifact",
        "blur",
        "contrast",
        "bubbles",
        "instrument",
    )
    origin = Origin(
        source="Ali et al. 2019, https://ead2019.grand-challenge.org, "
        "https://doi.org/10.17632/c7fjbxcgj9",
        licence="non-commercial, as its page states",
        download="open https://doi.org/10.17632/c7fjbxcgj9 and choose Download all, or join "
        "https://ead2019.grand-challenge.org; then unpack it",
        layout=f"{_FOLDER}/<name>.jpg and <name>.txt with a line `class x_center y_center width "
        "height` for each box, in shares of the image's sides",
    )

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._boxes: dict[str, list[Box]] = {}

    def entries(self) -> list[Entry]:
        """List one entry per image, with its box file."""
        folder = self.require(self.folder / _FOLDER)
        files = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
        texts = {path.stem: path for path in files if path.suffix == ".txt"}
        found = []
        for path in files:
            if path.suffix == ".txt":
                continue
            if path.suffix.lower() not in _IMAGES:
                raise DataError(f"{path}: expected only {sorted(_IMAGES)} and .txt in {folder}")
            if path.stem not in texts:
                raise DataError(f"{path}: no file {path.stem}.txt of its boxes next to it")
            text = texts.pop(path.stem)
            name = f"{self.name}/{path.stem}"
            self._boxes[name] = read_boxes(text, self.classes)
            found.append(Entry(name, None, path.stem, None, (path, text)))
        for path in texts.values():
            raise DataError(f"{path}: no image of this name next to it")
        if not found:
            raise DataError(f"{folder}: no image in it, expected files of type {sorted(_IMAGES)}")
        return found

    def reader(self) -> Reader:
        """Return the decoder of images, with the boxes that `entries` read."""
        return BoxReader(self._boxes, self.size, self.channels, self.native_channels)

    def write_phantom(self, folder: Path) -> None:
        """Draw artefacts on mucosa."""
        assert tuple(KINDS) == self.classes
        images, boxes = paint_artefacts(self.phantom_n, self.size, seed=0)
        for i, (pixels, drawn) in enumerate(zip(images, boxes, strict=True)):
            save_image(folder / _FOLDER / f"{i:05d}.jpg", pixels)
            lines = []
            for label, (left, top, right, bottom) in drawn:
                shares = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
                lines.append(" ".join([str(label), *(f"{s / self.size:.6f}" for s in shares)]))
            text = "".join(f"{line}\n" for line in lines)
            (folder / _FOLDER / f"{i:05d}.txt").write_text(text, encoding="utf-8")
