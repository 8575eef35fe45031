"""Every file of conf/attack composes and builds what its name says."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import open_dict

from medrobust.attack.bim import BIM
from medrobust.attack.core.base import Attack
from medrobust.attack.core.iterated import Iterated
from medrobust.attack.core.loss import Loss
from medrobust.attack.dag import DAG
from medrobust.attack.decayed_pgd import DecayedPGD
from medrobust.attack.deepfool import DeepFool
from medrobust.attack.pgd import PGD
from medrobust.attack.smia import SMIA
from medrobust.attack.target.fixed_class import FixedClass
from medrobust.attack.target.least_likely import LeastLikely
from medrobust.resolvers import register

CONF = Path(__file__).parents[2] / "conf"
ATTACKS = sorted(path.stem for path in (CONF / "attack").glob("*.yaml"))
VARIANTS = sorted(
    f"{path.parent.name}/{path.stem}"
    for path in (CONF / "attack").glob("*/*.yaml")
    if path.parent.name not in ("target", "loss", "criterion")
)
OBJECTIVES = sorted(path.stem for path in (CONF / "attack/loss").glob("*.yaml"))
ELSEWHERE = {"fea": "pgd"}
"""Configs that are another attack with a loss of their own."""


def build(*overrides: str) -> Attack:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        attack = instantiate(compose(overrides=list(overrides)).attack)
    assert isinstance(attack, Attack)
    return attack


@pytest.mark.parametrize("name", ATTACKS)
def test_module_and_config_bear_one_name(name: str) -> None:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(overrides=[f"+attack={name}"])
    attack = instantiate(config.attack)
    assert isinstance(attack, Attack)
    assert type(attack).__module__ == f"medrobust.attack.{ELSEWHERE.get(name, name)}"
    assert len(attack.fingerprint) == 64
    if attack.norm == "linf" and attack.eps is not None:
        assert attack.eps == 8 / 255
        if name != "external":  # one key of evaluate.yaml sets the radius of all
            with open_dict(config):
                config.eps = "2/255"
            assert instantiate(config.attack).eps == 2 / 255


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_build(name: str) -> None:
    assert len(build(f"+attack={name}").fingerprint) == 64


@pytest.mark.parametrize("name", ATTACKS)
def test_every_key_has_a_comment(name: str) -> None:
    lines = (CONF / "attack" / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith("# ")
    keys = [line for line in lines if line and line[0].islower() and "defaults:" not in line]
    assert all("#" in line for line in keys), [line for line in keys if "#" not in line]


@pytest.mark.parametrize("name", ["fgsm", "bim", "pgd", "pgd_l2", "mim", "dim", "tim", "apgd_ce"])
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


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives(name: str) -> None:
    loss = build("+attack=pgd", f"attack/loss={name}").loss
    assert isinstance(loss, Loss)
    assert type(loss).__module__ == f"medrobust.attack.loss.{name}"


@pytest.mark.parametrize("name", ["pgd_l2", "cw_l2"])
def test_aegis_reads_the_papers_l2_as_a_root_mean_square(name: str) -> None:
    attack = build(f"+attack=aegis/{name}")
    assert attack.eps == pytest.approx(8 / 256 * (3 * 224**2) ** 0.5)
    grey = build(f"+attack=aegis/{name}", "+data=chest_xray", "data.size=64", "+paths=default")
    assert grey.eps == pytest.approx(8 / 256 * 64)


def test_wb_d_drops_its_step_once() -> None:
    attack = build("+attack=aegis/wb_d")
    assert isinstance(attack, DecayedPGD)
    plain = build("+attack=aegis/wb")
    assert isinstance(plain, PGD)
    first = plain.step_size
    sizes = [attack.size_at(step) for step in range(100)]
    assert sizes == pytest.approx([first] * 50 + [first / 10] * 50)
    assert {plain.size_at(step) for step in range(100)} == {first}


SMIA_ROWS = sorted(path.stem for path in (CONF / "attack/smia").glob("*.yaml"))


@pytest.mark.parametrize("name", SMIA_ROWS)
def test_smia_rows_have_ten_iterations_and_the_tasks_radius(name: str) -> None:
    kinds = {"fgsm": BIM, "pgd": PGD, "deepfool": DeepFool, "dag": DAG, "dev": SMIA, "smia": SMIA}
    attack = build(f"+attack=smia/{name}", "+eps=5e-5")
    assert type(attack) is kinds[name]
    assert isinstance(attack, Iterated | DeepFool)
    assert (attack.norm, attack.eps, attack.steps) == ("linf", 5e-5, 10)
    assert attack.target is None
    if isinstance(attack, SMIA):
        assert attack.alpha == (0 if name == "dev" else 1)
