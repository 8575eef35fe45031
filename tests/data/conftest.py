"""Every dataset once: its class, the arguments it needs, and a small phantom of it."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from medrobust.data.aptos2019 import APTOS2019
from medrobust.data.aptos2019_binary import APTOS2019Binary
from medrobust.data.brain_tumor_mri import BrainTumorMRI
from medrobust.data.chest_xray import ChestXRay
from medrobust.data.core.base import MedicalDataModule
from medrobust.data.covid_ct import COVIDCT
from medrobust.data.covid_radiography import COVIDRadiography
from medrobust.data.ead2019 import EAD2019
from medrobust.data.isic2019 import ISIC2019
from medrobust.data.kaggle_dr import KaggleDR
from medrobust.data.kvasir_seg import KvasirSEG
from medrobust.data.medmnist import MedMNIST
from medrobust.data.mnist import MNIST


@dataclass(frozen=True)
class Case:
    cls: type[MedicalDataModule]
    keys: dict[str, Any] = field(default_factory=dict)
    real: str = ""  # folder under MEDROBUST_DATA
    real_keys: dict[str, Any] = field(default_factory=dict)


CASES = {
    "dermamnist": Case(
        MedMNIST,
        {"name": "dermamnist"},
        "medmnist_rebuilt",
        {"file": "dermamnist_rebuilt.npz", "md5": None},
    ),
    "pneumoniamnist": Case(
        MedMNIST,
        {"name": "pneumoniamnist"},
        "medmnist_rebuilt",
        {"file": "pneumoniamnist_rebuilt.npz", "md5": None},
    ),
    "isic2019": Case(ISIC2019, real="isic2019"),
    "aptos2019": Case(APTOS2019, real="aptos2019_layout_from_eyepacs"),
    "aptos2019_binary": Case(APTOS2019Binary, real="aptos2019_layout_from_eyepacs"),
    "kaggle_dr": Case(KaggleDR, real="eyepacs"),
    "mnist": Case(MNIST),
    "chest_xray": Case(ChestXRay, real="chest_xray"),
    "covid_radiography": Case(COVIDRadiography, real="covid19_radiography"),
    "brain_tumor_mri": Case(BrainTumorMRI, real="brain_tumor_mri"),
    "kvasir_seg": Case(KvasirSEG, real="kvasir_seg"),
    "covid_ct": Case(COVIDCT, real="covid_ct"),
    "ead2019": Case(EAD2019),
    "covid_ct_lungs": Case(COVIDCT, {"target": "lungs"}, "covid_ct"),
}


def build(name, folder, **keys) -> MedicalDataModule:
    case = CASES[name]
    common = {"size": 24, "phantom": True, "phantom_n": 100, "batch_size": 16}
    return case.cls(folder / name, folder / "manifests", **{**common, **case.keys, **keys})


@pytest.fixture(params=list(CASES))
def name(request):
    """Each dataset in turn."""
    return request.param


@pytest.fixture
def case(name):
    return CASES[name]


@pytest.fixture(params=[name for name, case in CASES.items() if case.real])
def real_case(request):
    """Each dataset in turn of which there are real images."""
    return CASES[request.param]


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Folder in which phantoms are drawn once, for all tests that only read them."""
    return tmp_path_factory.mktemp("phantoms")


@pytest.fixture
def make(shared):
    """`make(name, **keys)`: the small phantom of a dataset, not to be written to."""
    return lambda name, **keys: build(name, shared, **keys)


@pytest.fixture
def make_own(tmp_path):
    """`make_own(name, **keys)`: a phantom of the test's own, to be damaged."""
    return lambda name, **keys: build(name, tmp_path, **keys)
