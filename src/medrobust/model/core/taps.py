"""Default tap layers of detectors, by network.

The module is cheap to import.
"""

LAYERS: dict[str, tuple[str, ...]] = {
    # Medical Aegis: residual blocks 1, 4, 8 and 14, the first at each size of the map.
    "resnet50": ("layer1.0", "layer2.0", "layer3.0", "layer4.0"),
    # Medical Aegis: activation layers 3, 6, 9 and 12.
    "vgg16": ("features.6", "features.13", "features.20", "features.27"),
    # Ours: the same activations.
    "vgg16_slim": ("features.9", "features.19", "features.29", "features.39"),
    # Ours, as for ResNet-50: the first block at each size of the map, from a quarter of the side.
    "resnet18": ("layer1.0", "layer2.0", "layer3.0", "layer4.0"),
    "mobilenet_v2": ("blocks.1.0", "blocks.2.0", "blocks.3.0", "blocks.5.0"),
}
"""Modules by model config, from the shallowest to the deepest."""


def layers(model: str) -> list[str]:
    """Return the default tap layers of a network.

    Args:
        model: name of its config.

    Raises:
        ValueError: there are none for this model.
    """
    if model not in LAYERS:
        raise ValueError(
            f"no layers are known for a detector of model={model}, only for {sorted(LAYERS)}; "
            f"name modules of the victim with defense.taps=[…]"
        )
    return list(LAYERS[model])
