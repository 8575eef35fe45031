"""A detector's cached fits, read where they are and written to a folder that is thrown away."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from medrobust.fingerprint import digest


def fits_apart(defense: DictConfig, folder: Path) -> Any:
    """Return a defense's config whose detectors keep new fits in another folder.

    Args:
        defense: config of a defense.
        folder: temporary folder; gets links to the existing fits.
    """
    return _moved(OmegaConf.to_container(defense, resolve=True), folder)


def _moved(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {
            key: _linked(Path(item), folder)
            if key == "fits" and isinstance(item, str)
            else _moved(item, folder)
            for key, item in value.items()
        }
    return [_moved(item, folder) for item in value] if isinstance(value, list) else value


def _linked(fits: Path, folder: Path) -> str:
    """Return a folder with a link to each file of a cache."""
    apart = folder / digest(str(fits.resolve()))
    if not apart.exists():
        apart.mkdir()
        for file in fits.glob("??/[!.]*.safetensors"):
            place = apart / file.parent.name / file.name
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(file.resolve())
    return str(apart)
