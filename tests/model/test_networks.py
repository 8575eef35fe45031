import re
from functools import partial
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from medrobust.fingerprint import digest
from medrobust.model.core.pretrained import PretrainedError, normalisation
from medrobust.model.core.victim import Victim

CONF = Path(__file__).parents[2] / "conf" / "model"
CLASSIFIERS = ("resnet18", "resnet50", "resnet18_gcn", "resnet50_gcn", "vgg16", "mobilenet_v2")
OTHERS = ("unet", "ag_sononet16", "vgg16_slim", "retinanet")


def build(name: str, num_classes: int = 5, **changes: object) -> Victim:
    torch.manual_seed(0)
    config = OmegaConf.merge(OmegaConf.load(CONF / f"{name}.yaml"), changes)
    return instantiate(config, num_classes=num_classes).freeze()


def test_every_config_is_tested() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == {*CLASSIFIERS, *OTHERS}


SMALL = {"resnet18", "mobilenet_v2"}
"""Networks tested with the other stem by default; `vgg16` is measured below."""
_LARGE_STEM = [pytest.param(name, False, id=name) for name in CLASSIFIERS]
_SMALL_STEM = [
    pytest.param(
        name, True, id=f"{name}-small_stem", marks=[pytest.mark.slow] * (name not in SMALL)
    )
    for name in CLASSIFIERS
]


@pytest.mark.by_default(
    "mobilenet_v2", "mobilenet_v2-small_stem", "resnet18", "resnet18-small_stem", "resnet18_gcn"
)
@pytest.mark.parametrize(("name", "small_stem"), [*_LARGE_STEM, *_SMALL_STEM])
def test_classifiers_take_small_and_large_images(name: str, small_stem: bool) -> None:
    victim = build(name, small_stem=small_stem)
    for side in (28, 64):
        logits = victim(torch.rand(2, 3, side, side))
        assert logits.shape == (2, 5)
        assert logits.isfinite().all()
    assert victim.architecture["name"] == name
    digest(victim.architecture)  # plain data


def test_a_classifier_takes_full_size_images() -> None:
    assert build("resnet18")(torch.rand(1, 3, 224, 224)).shape == (1, 5)


def test_unet_gives_a_logit_per_class_and_pixel() -> None:
    victim = build("unet", num_classes=2)
    assert victim(torch.rand(2, 3, 64, 32)).shape == (2, 2, 64, 32)


@pytest.mark.parametrize(("side", "advice"), [(28, 32), (75, 64)])
def test_unet_refuses_other_sides_and_says_which(side: int, advice: int) -> None:
    with pytest.raises(ValueError, match=rf"{side}x{side} .* divisible by 32.*size={advice}"):
        build("unet", num_classes=2)(torch.rand(1, 3, side, side))


def test_a_shallow_unet_takes_finer_sides() -> None:
    assert build("unet", num_classes=3, depth=3)(torch.rand(1, 3, 40, 40)).shape == (1, 3, 40, 40)


@pytest.mark.parametrize(
    ("name", "tap", "plain", "small"),
    [
        ("resnet18", "maxpool", (64, 7, 7), (64, 28, 28)),
        ("resnet18", "layer4", (512, 1, 1), (512, 4, 4)),
        ("mobilenet_v2", "conv_stem", (32, 14, 14), (32, 28, 28)),
    ],
)
def test_small_stem_keeps_resolution(
    name: str, tap: str, plain: tuple[int, ...], small: tuple[int, ...]
) -> None:
    x = torch.rand(1, 3, 28, 28)
    for small_stem, shape in ((False, plain), (True, small)):
        _, seen = build(name, small_stem=small_stem).features(x, [tap])
        assert tuple(seen[tap].shape[1:]) == shape


@pytest.mark.slow
def test_small_vgg_leaves_out_the_wide_layers() -> None:
    victim = build("vgg16", small_stem=True)
    assert 14e6 < sum(weight.numel() for weight in victim.parameters()) < 15e6


def test_a_slim_vgg_without_a_channel_is_refused() -> None:
    with pytest.raises(InstantiationException, match=r"model\.width=0"):
        build("vgg16_slim", width=0)


@pytest.mark.slow
def test_a_slim_vgg_has_a_part_of_the_channels() -> None:
    whole, half = (build("vgg16_slim", width=width) for width in (1.0, 0.5))
    weights = [sum(weight.numel() for weight in victim.parameters()) for victim in (whole, half)]
    assert 3.9 < weights[0] / weights[1] < 4.0
    plain = build("vgg16", small_stem=True).network.features
    shapes = [layer.weight.shape for layer in plain if hasattr(layer, "weight")]
    slim = whole.network.features
    assert shapes == [m.weight.shape for m in slim if isinstance(m, torch.nn.Conv2d)]
    for side in (28, 64):
        assert half(torch.rand(2, 1, side, side)).shape == (2, 5)


def test_vgg_pooling_is_the_original_where_sides_divide_by_32() -> None:
    features = build("vgg16", small_stem=True).network.features
    x = torch.rand(1, 3, 64, 64)
    rounded_up = features(x)
    for layer in features:
        if isinstance(layer, torch.nn.MaxPool2d):
            assert layer.ceil_mode
            layer.ceil_mode = False
    assert torch.equal(features(x), rounded_up)


def test_small_stem_refuses_pretrained_weights_that_it_would_drop() -> None:
    with pytest.raises(InstantiationException, match="small_stem=true replaces") as caught:
        build("resnet18", small_stem=True, pretrained=True)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("name", "change"),
    [("resnet18", {"pretrained": True}), ("unet", {"encoder_weights": "imagenet"})],
)
def test_weights_that_cannot_be_had_are_explained(
    name: str, change: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InstantiationException) as caught:
        build(name, **change)
    assert isinstance(caught.value.__cause__, PretrainedError)
    assert re.search(r"python -c .*resnet18", str(caught.value.__cause__))


def test_normalisation_defaults() -> None:
    imagenet = normalisation(None, None, channels=3, imagenet=True)
    assert imagenet["mean"] == [0.485, 0.456, 0.406]
    assert normalisation(None, None, channels=1, imagenet=False) == {"mean": [0.5], "std": [0.5]}
    with pytest.raises(ValueError, match="in_channels=1"):
        normalisation(None, None, channels=1, imagenet=True)
    with pytest.raises(ValueError, match="expected 3 numbers"):
        normalisation([0.5], None, channels=3, imagenet=False)


def test_grey_images_are_repeated_inside() -> None:
    victim = build("mobilenet_v2")
    grey = torch.rand(3, 1, 32, 32, requires_grad=True)
    logits = victim(grey)
    torch.testing.assert_close(logits, victim(grey.expand(-1, 3, -1, -1)))
    (gradient,) = torch.autograd.grad(logits.sum(), grey)
    assert gradient.shape == grey.shape  # so an attack on it stays grey
    with pytest.raises(ValueError, match="channels"):
        victim(torch.rand(1, 2, 32, 32))


def test_a_network_for_grey_images() -> None:
    victim = build("resnet18", in_channels=1)
    assert victim(torch.rand(2, 1, 32, 32)).shape == (2, 5)


def test_taps_show_what_a_module_gave_before_later_layers_change_it() -> None:
    victim = build("resnet18")
    x = torch.rand(2, 3, 32, 32)
    logits, seen = victim.features(x, ["bn1", "act1", "layer1.0.bn2", "layer2"])
    torch.testing.assert_close(logits, victim(x))
    assert (seen["bn1"] < 0).any()  # the ReLU after it works in place
    torch.testing.assert_close(seen["act1"], seen["bn1"].relu())
    stem = victim.network.maxpool(seen["act1"])
    torch.testing.assert_close(victim.network.layer1[0](stem), (seen["layer1.0.bn2"] + stem).relu())
    assert {"bn1", "layer2", "fc"} <= set(victim.taps)


def test_unknown_and_unfit_taps_are_refused() -> None:
    with pytest.raises(KeyError, match="layer9"):
        build("resnet18").features(torch.rand(1, 3, 32, 32), ["layer9"])
    victim = build("unet", num_classes=2)
    with pytest.raises(TypeError, match="encoder"):
        victim.features(torch.rand(1, 3, 32, 32), ["encoder"])
    assert not victim.network.encoder._forward_hooks


def test_gradients_flow_through_taps() -> None:
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    _, seen = build("resnet18").features(x, ["layer1"])
    (gradient,) = torch.autograd.grad(seen["layer1"].square().sum(), x)
    assert gradient.abs().max() > 0


def test_fingerprint_follows_weights_buffers_and_architecture() -> None:
    make = partial(build, "resnet18")
    victim = make()
    first = victim.fingerprint
    assert make().fingerprint == first
    assert make(mean=[0.5, 0.5, 0.4]).fingerprint != first
    assert make(drop_rate=0.1).fingerprint != first
    with torch.no_grad():
        victim.network.fc.weight[0, 0] += 1e-6
    second = victim.fingerprint
    victim.network.bn1.running_mean[0] += 1e-6
    assert len({first, second, victim.fingerprint}) == 3
