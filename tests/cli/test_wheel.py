"""The package as it is installed: a wheel, used in an empty folder without the repository."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from medrobust.result.store import RowStore

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the content of the wheel; the environment has what it depends on."""
    out = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True)
    (wheel,) = out.glob("medrobust-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "site")
    return out / "site"


def run(installed: Path, folder: Path, *words: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "medrobust", *words],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_holds_every_file_that_the_checkout_uses(installed: Path) -> None:
    kinds = {".py", ".pyi", ".yaml", ".csv", ".html", ".css", ".js", ".typed"}
    wanted = {
        path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*") if path.suffix in kinds
    }
    wanted |= {Path("medrobust") / path.relative_to(ROOT) for path in (ROOT / "conf").rglob("*.y*")}
    wanted.add(Path("medrobust/py.typed"))
    assert [path for path in sorted(wanted) if not (installed / path).is_file()] == []
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "medrobust = medrobust.cli.main:main" in entry.read_text()


DATA = ["data=dermamnist", "data.phantom=true", "data.phantom_n=140", "trainer=cpu"]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a config of one's own, in an otherwise empty one."""
    gentle = tmp_path / "mine" / "attack" / "gentle.yaml"
    gentle.parent.mkdir(parents=True)
    gentle.write_text("_target_: medrobust.attack.fgsm.FGSM\neps: 1/255\n")
    return tmp_path


def test_its_configs_compose_with_ones_own(installed: Path, own: Path) -> None:
    made = "import medrobust, sys; print(medrobust.__file__); sys.exit('torch' in sys.modules)"
    where = subprocess.run(
        [sys.executable, "-c", made],
        cwd=own,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(installed))
    shown = run(
        installed, own, "evaluate", "--config-dir=mine", "--cfg=job", "attack=gentle", *DATA
    )
    assert "_target_: medrobust.attack.fgsm.FGSM\n  eps: 1/255\n" in shown
    assert "phantom_n: 140" in shown


@pytest.mark.slow
def test_a_sweep_in_an_empty_folder_with_a_config_of_ones_own(installed: Path, own: Path) -> None:
    run(installed, own, "train", *DATA, "trainer.max_epochs=1", "progress_bar=false")
    sweep = ["attack=fgsm,gentle", "logger=none"]
    shown = run(installed, own, "evaluate", "--config-dir=mine", "-m", *DATA, *sweep)
    assert "2 jobs: 2 rows done" in shown
    rows = RowStore(own / "outputs" / "rows").rows()
    assert {row.cell["attack"] for row in rows} == {"fgsm", "gentle"}
    for row in rows:  # the command that a page prints for a cell
        assert row.overrides[0] == f"--config-dir={own / 'mine'}"
        assert "_target_" not in " ".join(row.overrides)
    (folder,) = (own / "outputs" / "sweeps").iterdir()
    page = (folder / "report.html").read_text()
    assert f"medrobust evaluate --config-dir={own / 'mine'} data=dermamnist" in page
    assert "FGSM" in run(installed, own, "report", str(folder), "--format", "rich")
