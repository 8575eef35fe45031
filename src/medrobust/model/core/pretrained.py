"""Networks from timm, and the normalisation that goes with their weights."""

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
    """ImageNet weights were asked for and could not be had."""


def timm_network(network: str, *, pretrained: bool, **arguments: Any) -> Any:
    """A timm network, a `torch.nn.Module` whose parts are named as in timm.

    Args:
        network: timm's name of it.
        pretrained: start from timm's default ImageNet weights, downloaded once.
        **arguments: `num_classes`, `in_chans`, `drop_rate`, … of `timm.create_model`.

    Raises:
        ValueError: timm knows no such network.
        PretrainedError: the weights are neither in the local cache nor can be downloaded.
    """
    import timm

    check_network_name(network)  # a hub or a folder would choose code and weights
    if not pretrained:
        return timm.create_model(network, pretrained=False, **arguments)
    try:
        return timm.create_model(network, pretrained=True, **arguments)
    except Exception as error:  # the download library raises many unrelated types
        raise PretrainedError(
            f"model.pretrained=true, but the ImageNet weights of {network} could not be had: "
            f"{type(error).__name__}: {error}\n"
            f"On a machine with network run\n"
            f"  python -c \"import timm; timm.create_model('{network}', pretrained=True)\"\n"
            f"and copy its Hugging Face cache (HF_HOME, default ~/.cache/huggingface) to this one; "
            f"or train from random weights with model.pretrained=false."
        ) from error


def normalisation(
    mean: Sequence[float] | None, std: Sequence[float] | None, *, channels: int, imagenet: bool
) -> Scaling:
    """Per-channel mean and standard deviation in [0, 1] units.

    Args:
        mean: as configured; None for ImageNet's with ImageNet weights, else 0.5.
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
