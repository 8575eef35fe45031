"""The names that the package exports."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf

import medrobust

ROOT = Path(__file__).parents[1]
PUBLIC = {
    *("evaluate", "load_images", "load_rows", "load_victim"),
    *("Attack", "Defense", "ImageSet", "Prediction", "Row", "Threat", "Victim"),
}
GROUPS = ("attack", "data", "defense", "objective", "threat")


def test_few_names_with_docstrings_that_show_a_use() -> None:
    assert PUBLIC | set(GROUPS) == set(medrobust.__all__)
    assert all(getattr(medrobust, name).__doc__ for name in medrobust.__all__)
    assert [name for name in PUBLIC if ">>>" not in getattr(medrobust, name).__doc__] == []


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_is_exported_by_its_group(group: str) -> None:
    package = import_module(f"medrobust.{group}")
    assert all(getattr(package, name).__name__ == name for name in package.__all__)
    for path in (ROOT / "conf" / group).glob("*.yaml"):
        name = str(OmegaConf.load(path).get("_target_", ""))
        if name.startswith(f"medrobust.{group}."):
            kind = get_object(name)
            if isinstance(kind, type) and name.count(".") == 3:
                assert getattr(package, kind.__name__) is kind, path


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("medrobust.attack", {"torch"}),
        ("medrobust.attack.pgd", {"torchvision", "pytorch_lightning", "timm", "hydra"}),
        ("medrobust.invocation", {"torch"}),
    ],
)
def test_importing_is_cheap(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; sys.exit(str({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="PDG"):
        import_module("medrobust.attack").PDG  # noqa: B018
