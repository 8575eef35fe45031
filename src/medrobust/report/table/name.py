"""Names of config choices as papers print them, the same in every rendering.

They stand here and not in the configs: a table is made of rows, which may come from another
machine, and a key of a config would be an argument of its class and part of every row's id.
"""

import re
from collections.abc import Mapping

NAMES: dict[str, dict[str, str]] = {
    "attack": {
        "none": "clean",
        "stress/none": "clean",
        "aegis/cw_l2": "C&W (L₂)",
        "aegis/pgd_l2": "PGD[-{steps}] (L₂)",
        "aegis/wb": "WB",
        "aegis/wb_d": "WB, decayed step",
        "apgd": "APGD",
        "apgd_ce": "APGD-CE",
        "apgd_dlr": "APGD-DLR",
        "apgd_t": "APGD-T",
        "autoattack": "AutoAttack",
        "bim": "BIM[-{steps}]",
        "cw_l2": "C&W (L₂)",
        "cw_linf": "C&W (L∞)",
        "dag": "DAG",
        "ddn": "DDN",
        "decayed_pgd": "PGD[-{steps}], decayed step",
        "deepfool": "DeepFool",
        "dim": "DIM[-{steps}]",
        "external": "external[ {arguments.attack}]",
        "external/adv_lib": "adv-lib[ {arguments.attack}]",
        "external/art": "ART[ {arguments.attack}]",
        "external/foolbox": "Foolbox[ {arguments.attack}]",
        "external/pyautoattack": "AutoAttack (authors' code)",
        "external/torchattacks": "torchattacks[ {arguments.attack}]",
        "fab": "FAB",
        "fab_t": "FAB-T",
        "fea": "feature match",
        "fgsm": "FGSM",
        "fmn": "FMN",
        "hfc/bim": "BIM + HFC",
        "hfc/cw_linf": "C&W (L∞) + HFC",
        "hfc/mim": "MIM + HFC",
        "hfc/pgd": "PGD + HFC",
        "hopskipjump": "HopSkipJump[ ({queries} queries)]",
        "joint_pgd": "Joint PGD[-{steps}]",
        "mdda/bim": "BIM[-{steps}]",
        "mdda/cw_l2": "C&W (L₂)",
        "mdda/dim": "DI-FGSM",
        "mdda/pgd": "PGD[-{steps}]",
        "mim": "MIM[-{steps}]",
        "momentum_pgd": "Momentum PGD[-{steps}]",
        "nes": "NES[ ({queries} queries)]",
        "orthogonal_pgd": "Orthogonal PGD[-{steps}]",
        "pgd": "PGD[-{steps}]",
        "pgd_l2": "PGD[-{steps}] (L₂)",
        "rays": "RayS[ ({queries} queries)]",
        "segmentation/ddn": "DDN on Dice",
        "segmentation/pgd_dice": "PGD[-{steps}] on Dice",
        "selective_pgd": "Selective PGD[-{steps}]",
        "sini_fgsm": "SI-NI-FGSM",
        "smia": "SMIA",
        "smia/dag": "DAG",
        "smia/deepfool": "DeepFool (L∞)",
        "smia/dev": "DEV",
        "smia/fgsm": "I-FGSM[-{steps}]",
        "smia/pgd": "PGD[-{steps}]",
        "smia/smia": "SMIA",
        "spsa": "SPSA[ ({queries} queries)]",
        "square": "Square[ ({queries} queries)]",
        "stress/mean": "stress test",
        "strongest": "strongest[ ({effort})]",
        "tim": "TIM[-{steps}]",
        "uap": "UAP",
        "vmi_fgsm": "VMI-FGSM",
        "zo_ae_ds/ddn": "DDN",
    },
    "defense": {
        "none": "undefended",
        "bit_clipping": "bit clipping[ ({bits} bits)]",
        "bit_depth": "bit depth[ ({bits} bits)]",
        "comdefend": "ComDefend",
        "denoised_smoothing": "denoised smoothing[ (σ = {sigma})]",
        "denoised_smoothing/single_pass": "DS denoiser, single pass",
        "dnn": "DNN detector[ + {cushion}]",
        "feature_squeezing": "feature squeezing[ + {cushion}]",
        "gaussian_smoothing": "Gaussian filter[ (σ = {sigma_px} px)]",
        "jpeg": "JPEG[ (q = {quality})]",
        "jpeg/bpda": "JPEG[ (q = {quality})], straight-through",
        "kd": "kernel density[ + {cushion}]",
        "layer_regression": "layer regression[ + {cushion}]",
        "lid": "LID[ + {cushion}]",
        "maha": "Mahalanobis[ + {cushion}]",
        "mdda": "MDDA[ (N = {steps})]",
        "mdda/bpda": "MDDA[ (N = {steps})], straight-through",
        "median": "median[ ({window}×{window})]",
        "medical_aegis": "Medical Aegis[ ({cushion})]",
        "medrdf": "MedRDF[ ({noise} + {denoiser})]",
        "medrdf_seg": "MedRDF per pixel[ ({noise} + {denoiser})]",
        "nrp": "NRP",
        "random_resize_pad": "random resizing and padding",
        "randomized_smoothing": "randomized smoothing[ (σ = {sigma})]",
        "shield": "Shield[ + {cushion}]",
        "sr": "SR",
        "tv_minimization": "TV minimization",
        "wavelet": "wavelet[ (σ = {sigma})]",
        "zo_ae_ds": "ZO-AE-DS (RGE)",
        "zo_ae_ds/cge": "ZO-AE-DS (CGE)",
        "zo_ae_ds/single_pass": "ZO-AE-DS (RGE), single pass",
        "zo_ae_ds/single_pass_cge": "ZO-AE-DS (CGE), single pass",
        "zo_ds": "ZO-DS (RGE)",
        "zo_ds/cge": "ZO-DS (CGE)",
        "zo_ds/single_pass": "ZO-DS (RGE), single pass",
        "zo_ds/single_pass_cge": "ZO-DS (CGE), single pass",
    },
    "threat": {
        "adaptive": "adaptive",
        "adaptive/bpda": "adaptive (BPDA)",
        "blackbox": "black box",
        "oblivious": "oblivious",
        "transfer": "transfer",
    },
    "objective": {
        "adversarial_training": "adversarial training",
        "adversarial_training_awp": "adversarial training + AWP",
        "dice_ce": "Dice + cross-entropy",
        "mart": "MART",
        "retinanet": "focal + L1 loss",
        "standard": "standard training",
        "trades": "TRADES",
        "trades_awp": "TRADES + AWP",
    },
    "model": {
        "ag_sononet16": "AG-Sononet-16",
        "mobilenet_v2": "MobileNetV2",
        "resnet18": "ResNet-18",
        "resnet18_gcn": "ResNet-18 + GCN",
        "resnet50": "ResNet-50",
        "resnet50_gcn": "ResNet-50 + GCN",
        "retinanet": "RetinaNet",
        "unet": "U-Net",
        "vgg16": "VGG-16",
        "vgg16_slim": "VGG-16 (slim)",
    },
    "data": {
        "aptos2019": "APTOS 2019",
        "aptos2019_binary": "APTOS 2019 (binary)",
        "bloodmnist": "BloodMNIST",
        "brain_tumor_mri": "Brain Tumor MRI",
        "chest_xray": "Chest X-Ray",
        "covid_ct": "COVID-19 CT",
        "covid_radiography": "COVID-19 Radiography",
        "dermamnist": "DermaMNIST",
        "ead2019": "EAD 2019",
        "isic2019": "ISIC 2019",
        "kaggle_dr": "Kaggle-DR",
        "kvasir_seg": "Kvasir-SEG",
        "medmnist": "MedMNIST",
        "mnist": "MNIST",
        "pneumoniamnist": "PneumoniaMNIST",
    },
}
"""Axis -> choice -> name; `[…]` is left out unless the rows agree on each setting in its braces."""

PARTS = {
    "BitClipping": "bit clipping",
    "GaussianNoise": "Gaussian",
    "GaussianSmoothing": "Gaussian",
    "JPEG": "JPEG",
    "Median": "median",
    "NoDefense": "no denoiser",
    "PoissonNoise": "Poisson",
    "Resizing": "resizing",
    "Rotation": "rotation",
    "SaltPepperNoise": "s.p.",
    "StraightThroughJPEG": "JPEG, straight-through",
    "TVMinimization": "TV minimization",
}
"""Names of classes that are parts of a defense."""

_OPTIONAL = re.compile(r"\[([^]]*)\]")
_SETTING = re.compile(r"\{([^}]*)\}")


def named(axis: str, choice: str, settings: Mapping[str, str]) -> tuple[str, set[str]]:
    """Return the name of a choice, and the settings that it states.

    A choice without an entry in `NAMES`, such as a user's own defense, is its own name.

    Args:
        axis: axis of the choice, such as `attack`.
        choice: config choice, such as `pgd`.
        settings: printed settings that the name may state, such as `steps: "20"`; of an object its
            class, `noise.class: "GaussianNoise"`.
    """
    stated: set[str] = set()

    def fill(part: re.Match[str]) -> str:
        keys = [_key(key, settings) for key in _SETTING.findall(part[1])]
        if any(settings.get(key, "none") == "none" for key in keys):
            return ""
        stated.update(keys)
        return _SETTING.sub(lambda one: _said(_key(one[1], settings), settings), part[1])

    template = NAMES.get("model" if axis == "surrogate" else axis, {}).get(choice, "")
    return (_OPTIONAL.sub(fill, template) or choice), stated


def _said(key: str, settings: Mapping[str, str]) -> str:
    """Return a setting as text; of a dotted path, such as a class, the name of its last word."""
    text = settings[key]
    word = text.rpartition(".")[2]
    return PARTS.get(word, word if word.isidentifier() else text)


def _key(key: str, settings: Mapping[str, str]) -> str:
    return key if key in settings else f"{key}.class"
