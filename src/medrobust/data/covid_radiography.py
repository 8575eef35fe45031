"""COVID-19 Radiography Database: chest X-rays of COVID-19, viral pneumonia and healthy people."""

from pathlib import Path
from typing import Final

from medrobust.data.chest_xray import patient
from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.error import Origin
from medrobust.data.core.listing import check_classes, images_in
from medrobust.data.core.manifest import Entry
from medrobust.data.phantom.canvas import paint
from medrobust.data.phantom.chest import draw_chest
from medrobust.data.phantom.store import class_labels, save_image

_FOLDER: Final = "COVID-19_Radiography_Dataset"
_UNUSED: Final = ("Lung_Opacity",)
# `draw_chest` labels of COVID, normal, viral: 2 both rims, 0 clear lungs, 1 one-sided.
_DRAWN: Final = (2, 0, 1)


class COVIDRadiography(MedicalDataModule):
    """COVID-19 Radiography Database (Chowdhury 2020, Rahman 2021), three classes, split 8:1:1.

    The class Lung_Opacity and the lung masks of the published set are not used. See
    `MedicalDataModule` for the arguments.
    """

    name = "covid_radiography"
    classes = ("COVID", "Normal", "Viral Pneumonia")
    native_channels = 1
    origin = Origin(
        source="Chowdhury et al. 2020, "
        "https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database",
        licence="academic, non-commercial use with citation",
        download="kaggle datasets download tawsifurrahman/covid19-radiography-database --unzip",
        layout=f"{_FOLDER}/{{COVID,Normal,Viral Pneumonia}}/images/*.png",
    )

    def entries(self) -> list[Entry]:
        """List one entry per file of the three classes."""
        folder = self.require(self.folder / _FOLDER)
        check_classes(folder, self.classes, _UNUSED)
        found = []
        for label, name in enumerate(self.classes):
            for path in images_in(self.require(folder / name / "images"), (".png",)):
                identity = f"{self.name}/{name}/{path.stem}"
                found.append(Entry(identity, label, patient(path.stem), None, (path,)))
        return found

    def write_phantom(self, folder: Path) -> None:
        """Draw chests."""
        labels = class_labels(self.phantom_n, (1, 1, 1), seed=0)
        kinds = labels.copy()
        for label, kind in enumerate(_DRAWN):
            kinds[labels == label] = kind
        for i, pixels in enumerate(paint(draw_chest, kinds, self.size, seed=0)):
            name = self.classes[labels[i]]
            save_image(folder / _FOLDER / name / "images" / f"{name}-{i + 1}.png", pixels)
