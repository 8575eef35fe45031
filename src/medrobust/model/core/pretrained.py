"""Networks from timm, and the normalisation that belongs to their weights."""

from collections.abc import Sequence
from typing import Any, TypedDict

from medrobust.model.core.name import check_network_name

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Scaling(TypedDict):
    """Normalisation of a victim, per channel in [0, 1] units."""

    mean: list[float]
    std: list[float]


class PretrainedError(RuntimeError):
    """Raised when requested ImageNet weights are not available."""


def timm_network(network: str, *, pretrained: bool, **arguments: Any) -> Any:
    """Build a timm network, a `torch.nn.Module` whose parts are named as in timm.

    Args:
        network: name in timm.
        pretrained: start from timm's default ImageNet weights, downloaded once.
        **arguments: `num_classes`, `in_chans`, `drop_rate`, … of `timm.create_model`.

    Raises:
        ValueError: timm has no such network.
        PretrainedError: the weights are not in the local cache and cannot be downloaded.
    """
    import timm

    check_network_name(network)  # a hub or a folder would bring its own code and weights
    if not pretrained:
        return timm.create_model(network, pretrained=False, **arguments)
    try:
        return timm.create_model(network, pretrained=True, **arguments)
    except Exception as error:  # the download library raises many unrelated types
        raise PretrainedError(
            f"model.pretrained=true, but the ImageNet weights of {network} are not available: "
            f"{type(error).__name__}: {error}\n"
            f"On a machine with network run\n"
            f"  python -c \"import timm; timm.create_model('{network}', pretrained=True)\"\n"
            f"and copy its Hugging Face cache (HF_HOME, default ~/.cache/huggingface) to this one; "
            f"or train from random weights with model.pretrained=false."
        ) from error


def normalisation(
    mean: Sequence[float] | None, std: Sequence[float] | None, *, channels: int, imagenet: bool
) -> Scaling:
    """Return the per-channel mean and standard deviation in [0, 1] units.

    Args:
        mean: configured mean; None for ImageNet's with ImageNet weights, else 0.5.
        std: likewise.
        channels: channels that the network takes.
        imagenet: the network starts from ImageNet weights.

    Returns:
        `mean` and `std`, each one number per channel.

    Raises:
        ValueError: a list is not as long as `channels`, or there is no default for them.
    """
    if imagenet and channels != len(IMAGENET_MEAN) and (mean is None or std is None):
        raise ValueError(
            f"ImageNet weights with model.in_channels={channels} have no default normalisation; "
            f"set model.mean and model.std, or keep model.in_channels=3 (grey images are repeated)"
        )
    default_mean: Sequence[float] = IMAGENET_MEAN if imagenet else [0.5] * channels
    default_std: Sequence[float] = IMAGENET_STD if imagenet else [0.5] * channels
    found = Scaling(
        mean=[float(m) for m in (default_mean if mean is None else mean)],
        std=[float(s) for s in (default_std if std is None else std)],
    )
    for key, values in (("mean", found["mean"]), ("std", found["std"])):
        if len(values) != channels:
            raise ValueError(f"model.{key}={values}, expected {channels} numbers (in_channels)")
    return found
