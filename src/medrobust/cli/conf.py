"""The folder of the configs."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def conf_folder() -> str:
    """Return the folder of the configs: inside an installed package, or at the checkout's root.

    Raises:
        FileNotFoundError: neither exists.
    """
    places = (_PACKAGE / "conf", _PACKAGE.parents[1] / "conf")
    for place in places:
        if (place / "evaluate.yaml").is_file():
            return str(place)
    raise FileNotFoundError(
        f"the configs of medrobust are neither in {places[0]} nor in {places[1]}; install the "
        "package again"
    )
