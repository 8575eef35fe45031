"""The poster's tables end to end on generated images: trained, asked, certified, attacked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ("data.phantom=true", "data.phantom_n=160", "data.size=32", "trainer=cpu")
SLIM = ("depth=3", "features=4", "warm_epochs=1")


def call(script: str, root: Path, *words: str) -> str:
    command = [sys.executable, str(ROOT / script), *words, *SMALL, f"paths.root={root}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(root: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in (root / "outputs" / "rows").glob("*.json")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "victim", "defense", "part"),
    [
        ("classification", ("data=brain_tumor_mri", "model=vgg16_slim"), "zo_ae_ds", "denoiser."),
        (
            "segmentation",
            ("data=kvasir_seg", "model=unet", "objective=dice_ce", "model.encoder=resnet18"),
            "zo_ae_ds/single_pass",
            "",
        ),
    ],
)
def test_a_black_box_is_defended(
    tmp_path: Path, task: str, victim: tuple[str, ...], defense: str, part: str
) -> None:
    train = ("progress_bar=false", "logger=none")
    call("train.py", tmp_path, *victim, "trainer.max_epochs=1", *train)
    slim = [f"defense.{part}{word}" for word in (*SLIM, "estimator.q=3")]
    call("train.py", tmp_path, *victim, f"defense={defense}", "trainer.max_epochs=2", *slim, *train)
    few = ["data.limit_test=8", "logger=csv", "attack=none,fgsm"]
    few += [*(["copies=20", "eot_samples=2"] if part else [])]
    call(
        *("evaluate.py", tmp_path, "-m", f"experiment=zo_ae_ds/{task}", *victim),
        *(f"defense={defense}", *slim, *few),
    )
    found = rows(tmp_path)
    assert {row["status"] for row in found} == {"done"}
    assert {row["cell"]["threat"] for row in found} == {"oblivious", "adaptive"}
    for row in found:
        assert row["metrics"]["training_queries"] > 0
        assert ("certified_accuracy@0.25" in row["metrics"]) is (task == "classification")
