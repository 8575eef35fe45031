"""U-Net (Ronneberger et al. 2015) with a configurable encoder."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from medrobust.model.core.name import EncoderName, ModelName, check_encoder_name
from medrobust.model.core.pretrained import PretrainedError, normalisation
from medrobust.model.core.victim import Victim


def build(
    num_classes: int,
    *,
    name: ModelName,
    encoder: EncoderName = "resnet18",
    encoder_weights: str | None = None,
    depth: int = 5,
    in_channels: int = 3,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Victim:
    """Build a U-Net.

    Args:
        num_classes: number of classes K; the victim maps (N, C, H, W) in [0, 1] to logits (N, K, H,
            W).
        name: name in paths and tables.
        encoder: name in segmentation_models_pytorch.
        encoder_weights: None for random weights, or a name such as `imagenet`.
        depth: halvings of the side, 3 to 5; sides must be divisible by 2^depth.
        in_channels: channels that the network takes; grey images are repeated to them.
        mean: mean per channel, in [0, 1] units; see `normalisation`.
        std: standard deviation per channel, in [0, 1] units.

    Raises:
        PretrainedError: the weights are not available.
        ValueError: `depth` is out of range, or the encoder is unknown.
    """
    if not 3 <= depth <= 5:
        raise ValueError(f"model.depth={depth}, expected 3 to 5")
    net = _network(encoder, encoder_weights, depth, in_channels, num_classes)
    net.register_forward_pre_hook(_check_side)
    imagenet = encoder_weights is not None
    scaling = normalisation(mean, std, channels=in_channels, imagenet=imagenet)
    return Victim(
        net,
        **scaling,
        architecture={
            "builder": "unet",
            "num_classes": num_classes,
            "name": name,
            "encoder": encoder,
            "depth": depth,
            "in_channels": in_channels,
            **scaling,
        },
    )


def _network(
    encoder: str, weights: str | None, depth: int, channels: int, classes: int
) -> nn.Module:
    import segmentation_models_pytorch as smp

    check_encoder_name(encoder)
    arguments: dict[str, Any] = {
        "encoder_depth": depth,
        "decoder_channels": (256, 128, 64, 32, 16)[-depth:],
        "in_channels": channels,
        "classes": classes,
    }
    if weights is None:
        return smp.Unet(encoder, encoder_weights=None, **arguments)
    try:
        return smp.Unet(encoder, encoder_weights=weights, **arguments)
    except OSError as error:
        raise PretrainedError(
            f"model.encoder_weights={weights}, but the weights of {encoder} are not available: "
            f"{type(error).__name__}: {error}\n"
            f"On a machine with network run\n"
            f'  python -c "import segmentation_models_pytorch as smp; '
            f"smp.Unet('{encoder}', encoder_weights='{weights}')\"\n"
            f"and copy its Hugging Face cache (HF_HOME, default ~/.cache/huggingface) to this one; "
            f"or train from random weights with model.encoder_weights=null."
        ) from error


def _check_side(net: Any, inputs: tuple[Any, ...]) -> None:
    step = 2 ** len(net.decoder.blocks)
    height, width = inputs[0].shape[-2:]
    if height % step or width % step:
        raise ValueError(
            f"U-Net got images of {height}x{width} pixels, expected sides divisible by {step}; "
            f"set data.size={max(step, round(max(height, width) / step) * step)}"
        )
