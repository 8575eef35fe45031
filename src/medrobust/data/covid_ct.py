"""COVID-19 CT slices with masks of the lungs and of the infection."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from medrobust.data.core.base import MedicalDataModule
from medrobust.data.core.error import DataError, Origin
from medrobust.data.core.listing import images_in, read_table
from medrobust.data.core.manifest import Entry
from medrobust.data.core.split import SPLITS, Split
from medrobust.data.kvasir_seg import pair
from medrobust.data.phantom.canvas import paint_masked
from medrobust.data.phantom.ct import draw_infected, draw_lungs
from medrobust.data.phantom.store import save_image

Target = Literal["infection", "lungs"]
_TABLE: Final = "slices.csv"
_MASKS: Final[Mapping[str, str]] = {"infection": "covid", "lungs": "lungs"}


class COVIDCT(MedicalDataModule):
    """Slices of the 20 volumes of covid19-ct-scans (Ma et al., Medical Physics 2021).

    The volumes must have been cut into 8-bit slices: `data/README.md` has the layout. The splits
    are those of the table, which keeps each volume in one split.

    Args:
        root: folder of the slices.
        manifests: folder for the manifest.
        target: structure that the mask marks, "infection" or "lungs".
        **common: see `MedicalDataModule`.

    Raises:
        ValueError: `target` is neither.
    """

    name = "covid_ct"
    task = "segmentation"
    native_channels = 1
    grouped_by = "volumes"
    origin = Origin(
        source="Ma et al. 2021, https://doi.org/10.5281/zenodo.3757476, "
        "https://www.kaggle.com/datasets/andrewmvd/covid19-ct-scans",
        licence="CC BY-NC-SA 4.0",
        download="kaggle datasets download andrewmvd/covid19-ct-scans --unzip, then cut slices "
        "as data/README.md says",
        layout=f"{{ct,lungs,covid}}/NNNN.png, {_TABLE} (file,split, optionally volume)",
    )

    def __init__(
        self,
        root: str | Path,
        manifests: str | Path,
        *,
        target: Target = "infection",
        **common: Any,
    ) -> None:
        if target not in _MASKS:
            raise ValueError(f"data.target is {target!r}, expected one of {list(_MASKS)}")
        self.target = target
        self.classes = ("background", target)
        super().__init__(root, manifests, **common)

    def entries(self) -> list[Entry]:
        """List one entry per row of the table."""
        table = self.require(self.folder / _TABLE)
        pictures = images_in(self.require(self.folder / "ct"), (".png",))
        masks = images_in(self.require(self.folder / _MASKS[self.target]), (".png",))
        pairs = pair(pictures, masks)
        splits: dict[str, Split] = {}
        volumes: dict[str, str] = {}
        for line, row in read_table(table, ("file", "split")):
            stem = Path(row["file"]).stem
            if stem not in pairs:
                raise DataError(f"{table}, line {line}: no image ct/{row['file']}")
            if row["split"] not in SPLITS:
                raise DataError(f"{table}, line {line}: split {row['split']!r}, not in {SPLITS}")
            if stem in splits:
                raise DataError(f"{table}, line {line}: {row['file']} occurs twice")
            splits[stem] = row["split"]  # type: ignore[assignment]
            volumes[stem] = row.get("volume") or stem
        for stem, files in pairs.items():
            if stem not in splits:
                raise DataError(f"{files[0]}: no row for it in {table}")
        return [
            Entry(f"{self.name}/{i}", None, volumes[i], splits[i], files)
            for i, files in pairs.items()
        ]

    def view(self) -> dict[str, int | str | None]:
        """Add the target of the masks to the view."""
        return {**super().view(), "target": self.target}

    @property
    def variant(self) -> str:
        """Return the name and the target, such as `covid_ct_infection`."""
        return f"{self.name}_{self.target}"

    def write_phantom(self, folder: Path) -> None:
        """Draw chests in cross-section, with both kinds of mask."""
        images, infection = paint_masked(draw_infected, self.phantom_n, self.size, seed=0)
        # The same seed draws the same chests.
        _, lungs = paint_masked(draw_lungs, self.phantom_n, self.size, seed=0)
        lines = ["file,split"]
        n_held = max(1, self.phantom_n // 10)
        for i in range(self.phantom_n):
            split = "test" if i < n_held else "val" if i < 2 * n_held else "train"
            lines.append(f"{i:04d}.png,{split}")
            for name, pixels in (("ct", images), ("lungs", lungs), ("covid", infection)):
                save_image(folder / name / f"{i:04d}.png", pixels[i])
        (folder / _TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")
