"""Every file of conf/attack composes and builds what its name says."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from medrobust.attack.base import Attack
from medrobust.attack.bim import BIM
from medrobust.attack.cw_linf import CWLinf
from medrobust.attack.iterated import Iterated
from medrobust.attack.pgd import PGD
from medrobust.attack.target import FixedClass, LeastLikely, RandomClass

CONF = Path(__file__).parents[2] / "conf"
OURS = ["none", "fgsm", "bim", "pgd", "pgd_l2", "mim", "cw_linf", "external"]
MEDRDF = sorted(path.stem for path in (CONF / "attack" / "medrdf").glob("*.yaml"))
QUERIES = ["rays", "spsa"]  # black box; what they build is tested beside the attacks


def build(*overrides: str) -> Attack:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        attack = instantiate(compose(overrides=list(overrides)).attack)
    assert isinstance(attack, Attack)
    return attack


@pytest.mark.parametrize("name", OURS)
def test_module_and_config_bear_one_name(name: str) -> None:
    attack = build(f"+attack={name}")
    assert type(attack).__module__ == f"medrobust.attack.{name}"
    assert len(attack.fingerprint) == 64
    assert attack.eps == {"none": None, "pgd_l2": 0.5}.get(name, 8 / 255)


@pytest.mark.parametrize("name", [name for name in OURS if name not in ("none", "external")])
def test_targets(name: str) -> None:
    assert build(f"+attack={name}").target is None
    chosen = build(f"+attack={name}", "attack/target=least_likely")
    assert isinstance(chosen.target, LeastLikely)


@pytest.mark.parametrize("name", sorted(p.stem for p in (CONF / "attack/target").glob("*.yaml")))
def test_target_options(name: str) -> None:
    label = ["attack.target.label=2"] if name == "fixed_class" else []
    target = build("+attack=pgd", f"attack/target={name}", *label).target
    assert type(target).__name__.lower() == name.replace("_", "")
    assert not isinstance(target, FixedClass) or target.label == 2


@pytest.mark.parametrize("name", [name for name in MEDRDF if name not in QUERIES])
def test_medrdf_columns(name: str) -> None:
    kinds = {"ifgsm": BIM, "pgd": PGD, "cw": CWLinf}
    kind, last = name.split("_")
    attack = build(f"+attack=medrdf/{name}")
    assert type(attack) is kinds[kind]
    assert isinstance(attack, Iterated)
    assert attack.eps == 8 / 255
    assert attack.steps == (100 if kind == "cw" else int(last))
    assert not attack.early_stop
    assert isinstance(
        build(f"+attack=medrdf/{name}", "attack/target=random_class").target, RandomClass
    )


def test_medrdf_has_all_columns() -> None:
    steps = ["ifgsm_1", "ifgsm_2", "ifgsm_5", "ifgsm_7", "pgd_100", "pgd_20", "pgd_7"]
    assert ["cw_linf", *steps, *QUERIES] == MEDRDF


def test_variant_is_the_base_attack_with_its_numbers() -> None:
    """So both share one adversarial set in the cache."""
    same = build("+attack=pgd", "attack.steps=7")
    assert build("+attack=medrdf/pgd_7").fingerprint == same.fingerprint
