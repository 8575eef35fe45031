"""Names that an architecture may hold, and the check of each."""

import re
from typing import Annotated

_PLAIN = re.compile(r"[\w][\w .+=()-]{0,99}")
_TIMM = re.compile(r"\w+(\.[\w-]+)?", re.ASCII)  # no prefix, such as hf-hub: or local-dir:
_UNIVERSAL = "tu-"  # prefix of segmentation_models_pytorch for timm's networks


def check_model_name(name: str) -> None:
    """Check a model's name in paths and tables.

    Raises:
        ValueError: the name is longer than 100 characters, or has others than letters, digits,
            spaces and _ . + = ( ) -.
    """
    if not _PLAIN.fullmatch(name):
        raise ValueError(
            f"{name[:100]!r} is no name for a model; expected 1 to 100 letters, digits, spaces "
            f"and _ . + = ( ) -"
        )


def check_network_name(name: str) -> None:
    """Check that timm has a network of this name; a hub or a folder is no name.

    Raises:
        ValueError: it has none.
    """
    import timm

    if not (_TIMM.fullmatch(name) and timm.is_model(name)):
        raise ValueError(
            f"{name[:100]!r} is no network of timm; expected a name out of timm.list_models()"
        )


def check_encoder_name(name: str) -> None:
    """Check that segmentation_models_pytorch has an encoder of this name.

    Raises:
        ValueError: it has none.
    """
    from segmentation_models_pytorch.encoders import encoders

    if name.startswith(_UNIVERSAL):
        check_network_name(name.removeprefix(_UNIVERSAL))
    elif name not in encoders:
        raise ValueError(
            f"{name[:100]!r} is no encoder of segmentation_models_pytorch; expected one of "
            f"{', '.join(encoders)}, or tu-<name of a network of timm>"
        )


ModelName = Annotated[str, check_model_name]
NetworkName = Annotated[str, check_network_name]
EncoderName = Annotated[str, check_encoder_name]
