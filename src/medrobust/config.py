"""What the configs need of Python: OmegaConf resolvers. Cheap to import."""

from omegaconf import OmegaConf


def _suffix(wanted: bool, text: str) -> str:
    return text if wanted else ""


def register() -> None:
    """Register the resolvers; safe to call twice.

    `${medrobust.suffix:<bool>,<text>}`: the text when the condition holds, else nothing.
    """
    OmegaConf.register_new_resolver("medrobust.suffix", _suffix, replace=True)
