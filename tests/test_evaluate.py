"""evaluate.py from the command line: cells, sweeps, failures, kills, and what they leave."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from medrobust.model.core.checkpoint import load_victim, save_victim
from medrobust.resolvers import register
from medrobust.result.per_image import PerImage
from medrobust.result.row import Row
from medrobust.result.sidecar import State, all_paths, state
from medrobust.result.store import RowStore
from tests.experiment.paper_cells import planned
from tests.support.here import run_here
from tests.support.kinds import slow_unless
from tests.support.wandb_file import finished

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
DATA = ["data=dermamnist", "data.phantom=true", "data.phantom_n=140"]
DATA += ["model=resnet18", "model.network=test_resnet"]  # timm's smallest
FAST = ["attack.steps=2"]

Run = Callable[..., int]


def words(*overrides: str, root: Path) -> list[str]:
    flags = [word for word in overrides if word.startswith("-")]
    always = [f"paths.root={root}", "trainer=cpu", *DATA]
    return [*flags, *always, *(word for word in overrides if not word.startswith("-"))]


def script(name: str, *overrides: str, root: Path) -> list[str]:
    return [sys.executable, str(ROOT / name), *words(*overrides, root=root)]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a phantom and two victims trained on it for an epoch."""
    root = tmp_path_factory.mktemp("trained")
    settings = ["trainer.max_epochs=1", "progress_bar=false", "logger=none"]
    with pytest.MonkeyPatch.context() as patch:
        told = words(*settings, "-m", "seed=0,1", root=root)
        assert run_here(patch, "train.py", *told) == 0
    return root


@pytest.fixture
def root(trained: Path, tmp_path: Path) -> Path:
    """The same with an empty `outputs`."""
    for name in ("data", "checkpoints"):
        shutil.copytree(trained / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs evaluate.py's main in this process and returns its exit status.

    A sweep's table is written as text alone, unless the overrides say otherwise.
    """
    return lambda *overrides: run_here(
        monkeypatch,
        "evaluate.py",
        *words("++hydra.callbacks.table.formats=[csv,md]", *overrides, root=root),
    )


def rows(root: Path) -> list[Row]:
    return RowStore(root / "outputs/rows").rows()


def numbers(found: list[Row]) -> dict[str, dict[str, Any]]:
    """What must not depend on how often a sweep was interrupted."""
    return {
        row.id: {
            "status": row.status,
            "cell": row.cell,
            "metrics": row.metrics,
            "intervals": row.intervals,
            "checks": row.checks,
            "fingerprints": row.fingerprints,
        }
        for row in found
    }


def latest(root: Path) -> Path:
    return max((root / "outputs/sweeps").iterdir(), key=lambda path: path.name)


def notes(sweep: Path) -> list[dict[str, Any]]:
    files = sorted(sweep.glob("*/cell.json"), key=lambda path: int(path.parent.name))
    return [json.loads(path.read_text()) for path in files]


MATRIX = ["-m", "attack=bim,pgd", "defense=none,jpeg,medrdf", "copies=10", *FAST]


def test_a_sweep_fills_the_matrix_then_skips_it(run: Run, root: Path) -> None:
    assert run(*MATRIX, "++hydra.callbacks.table.formats=null") == 0
    first = latest(root)
    found = rows(root)
    assert len(found) == 6
    assert {row.status for row in found} == {"done"}
    assert {(row.cell["attack"], row.cell["defense"]) for row in found} == {
        (attack, defense) for attack in ("bim", "pgd") for defense in ("none", "jpeg", "medrdf")
    }
    for name in ("table.csv", "table.md", "table.tex", "table.png", "report.html", "images.csv"):
        assert (first / name).stat().st_size > 0
    assert "PHANTOM" in (first / "table.md").read_text()
    assert {note["status"] for note in notes(first)} == {"done"}
    for row in found:
        assert row.phantom
        assert row.confusion is not None
        assert sum(map(sum, row.confusion)) == row.n > 0
        assert row.clean_confusion is not None
        hits = sum(row.clean_confusion[k][k] for k in range(len(row.classes)))
        assert hits / row.n == row.metrics["clean_accuracy"] or row.cell["defense"] == "medrdf"
        assert RowStore(root / "outputs/rows").picture(row.id).exists()
        record = PerImage.read(RowStore(root / "outputs/rows").per_image(row.id))
        assert record is not None
        assert record.columns["correct"].mean() == row.metrics["accuracy"]
        assert record.columns["clean_correct"].mean() == row.metrics["clean_accuracy"]
        assert 0 <= row.metrics["accuracy"] <= 1
        low, high = row.intervals["accuracy"]
        assert low <= row.metrics["accuracy"] <= high
        assert row.checks["linf_max"] <= 8 / 255 + 1e-6
        assert set(row.fingerprints) >= {"victim", "surrogate", "attack", "defense", "images"}
        assert row.versions["torch"]
        assert row.config["attack"]["steps"] == 2
        assert "root" not in row.config["data"]
    # Three defenses share one oblivious set per attack.
    assert len({row.fingerprints["adversarial_set"] for row in found}) == 2

    written = {path: path.stat().st_mtime_ns for path in (root / "outputs/rows").iterdir()}
    assert run(*MATRIX) == 0
    assert {note["status"] for note in notes(latest(root))} == {"skipped"}
    assert latest(root) != first
    assert written == {path: path.stat().st_mtime_ns for path in (root / "outputs/rows").iterdir()}
    for name in ("table.csv", "images.csv"):
        assert (latest(root) / name).read_bytes() == (first / name).read_bytes()

    gone = found[0]
    store = RowStore(root / "outputs/rows")
    store.picture(gone.id).unlink()
    cell = [f"{axis}={gone.cell[axis]}" for axis in ("attack", "defense")]
    assert run("-m", *cell, "copies=10", *FAST) == 0
    assert {note["status"] for note in notes(latest(root))} == {"skipped"}
    assert store.picture(gone.id).exists()
    assert store.get(gone.id) == gone


def test_a_failed_cell_does_not_take_others_along(run: Run, root: Path, capsys: Any) -> None:
    sweep = ["-m", "attack=pgd", "attack.eps=8/255,2,4/255", *FAST]
    assert run(*sweep) == 1
    statuses = [note["status"] for note in notes(latest(root))]
    assert statuses == ["done", "failed", "done"]
    (failed,) = [row for row in rows(root) if row.status == "failed"]
    assert "attack.eps=2 is out of range" in (failed.error or "")
    assert "✗" in (latest(root) / "table.md").read_text()
    assert "failed" in capsys.readouterr().err
    # The same command again computes only what failed.
    assert run(*sweep) == 1
    assert [note["status"] for note in notes(latest(root))] == ["skipped", "failed", "skipped"]


def test_alone_a_failure_is_raised(run: Run, root: Path) -> None:
    assert run("attack=pgd", "attack.steps=0") == 1
    (failed,) = rows(root)
    assert failed.status == "failed"
    assert "attack.steps" in (failed.error or "")


def test_a_missing_victim_prints_its_train_command(run: Run, root: Path) -> None:
    assert run("-m", "attack=none", "victim_seed=7") == 1
    (failed,) = rows(root)
    assert (
        "medrobust train data=dermamnist model=resnet18 objective=standard data.phantom=True "
        "data.phantom_n=140 model.network=test_resnet seed=7" in (failed.error or "")
    )


def test_a_missing_surrogate_prints_its_train_command(run: Run, root: Path) -> None:
    threat = ["threat=transfer", "model@threat.surrogate_model=vgg16", "threat.surrogate_seed=3"]
    assert run("-m", "attack=fgsm", "model.drop_rate=0.0", *threat) == 1
    (failed,) = rows(root)
    assert (
        "medrobust train data=dermamnist model=vgg16 objective=standard data.phantom=True "
        "data.phantom_n=140 seed=3" in (failed.error or "")
    )


def test_a_missing_defense_prints_its_train_command(run: Run, root: Path) -> None:
    learned = ["defense=none,comdefend", "defense_seed=3", "data.limit_test=20"]
    assert run("-m", "attack=none", *learned) == 1
    (failed,) = [row for row in rows(root) if row.status == "failed"]
    assert failed.cell["defense"] == "comdefend"
    assert (
        "medrobust train defense=comdefend data=dermamnist data.phantom=True data.phantom_n=140 "
        f"seed=3 paths.root={root}" in (failed.error or "")
    )


@pytest.mark.slow
def test_another_victim_is_another_row(
    run: Run, root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = ["table.metrics=[balanced_accuracy,accuracy]", "table.columns=[]"]
    assert run("-m", "attack=none", "victim_seed=0,1", "threat=blackbox", *shown) == 0
    assert capfd.readouterr().out.count("done: balanced_accuracy = 0.") == 2
    first, second = rows(root)
    assert first.fingerprints["victim"] != second.fingerprints["victim"]
    folder = root / "checkpoints/dermamnist_28px_phantom/resnet18/standard"
    shutil.copy(folder / "seed_1.ckpt", folder / "seed_0.ckpt")
    assert run("-m", "attack=none", "victim_seed=0", "threat=blackbox") == 1
    assert "with seed=1, expected seed=0; set victim_seed=1" in capfd.readouterr().out
    victim = load_victim(folder / "seed_1.ckpt", train_command="")
    again = replace(victim.meta, seed=0)  # as if it was trained again, at the same path
    save_victim(folder / "seed_0.ckpt", victim, again)
    assert run("-m", "attack=none", "victim_seed=0", "threat=blackbox") == 0
    (note,) = notes(latest(root))
    assert note["status"] == "done"  # the old weights' row does not stand for the new ones
    new = RowStore(root / "outputs/rows").get(note["row"])
    assert new is not None
    other = next(row for row in (first, second) if row.config["victim_seed"] == 1)
    assert new.fingerprints["victim"] == other.fingerprints["victim"]
    assert new.metrics == other.metrics


@pytest.mark.slow
def test_transfer_and_adaptive_threats(run: Run, root: Path) -> None:
    surrogate = ["model@threat.surrogate_model=resnet18", "threat.surrogate_seed=1"]
    surrogate += ["threat.surrogate_model.network=test_resnet"]
    assert run("-m", "threat=transfer", "attack=pgd", *surrogate, *FAST) == 0
    assert run("-m", "threat=adaptive", "eot_samples=2", "defense=medrdf", "copies=5", *FAST) == 0
    transfer, adaptive = sorted(rows(root), key=lambda row: row.cell["threat"], reverse=True)
    assert transfer.cell["surrogate"] == "resnet18"
    assert transfer.fingerprints["surrogate"] != transfer.fingerprints["victim"]
    assert adaptive.cell["surrogate"] == ""
    assert adaptive.fingerprints["surrogate"] != adaptive.fingerprints["victim"]
    assert {"abstention_rate", "robust_metric"} <= set(adaptive.metrics)


@pytest.mark.slow
def test_batch_size_is_not_science(run: Run, root: Path) -> None:
    cell = ["attack=pgd", "defense=medrdf", "copies=10", *FAST]
    assert run("-m", "batch_size=4", *cell) == 0
    (first,) = rows(root)
    shutil.rmtree(root / "outputs")
    assert run("-m", "batch_size=128", *cell) == 0
    (second,) = rows(root)
    assert numbers([first]) == numbers([second])


@pytest.mark.slow
def test_a_sweep_on_two_devices_writes_the_rows_of_one(root: Path) -> None:
    """From the shell, with the processes that each sweep starts by itself."""
    written = []
    for devices in (1, 2):
        command = script("evaluate.py", *MATRIX, f"trainer.devices={devices}", root=root)
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        written.append((numbers(rows(root)), (latest(root) / "table.csv").read_bytes()))
        shutil.rmtree(root / "outputs")
    assert len(written[0][0]) == 6
    assert written[0] == written[1]


@pytest.mark.slow
@pytest.mark.parametrize("kills", [(0, 2, 3)])
def test_killed_sweeps_lose_nothing(run: Run, root: Path, kills: tuple[int, ...]) -> None:
    """kill -9 once so many rows are there; the last run then ends as an uninterrupted one."""
    assert run(*MATRIX) == 0
    whole, order = numbers(rows(root)), [note["row"] for note in notes(latest(root))]
    shutil.rmtree(root / "outputs")
    store = RowStore(root / "outputs/rows")
    folder = store.folder
    command = script("evaluate.py", *MATRIX, root=root)
    seen: dict[Path, int] = {}
    for wanted in kills:
        with store.lock(order[wanted]):  # the sweep waits here, however quick it is
            process = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            deadline = time.monotonic() + 300
            while len(list(folder.glob("[!.]*.json"))) < wanted or (
                wanted == 0 and not (root / "outputs/sweeps").exists()
            ):
                assert process.poll() is None, "the sweep ended before it was killed"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for path, written in seen.items():
            assert path.stat().st_mtime_ns == written, "a finished row was done again"
        seen = {path: path.stat().st_mtime_ns for path in folder.glob("[!.]*.json")}
    assert run(*MATRIX) == 0
    for path, written in seen.items():
        assert path.stat().st_mtime_ns == written
    assert numbers(rows(root)) == whole


@pytest.mark.slow
def test_wandb_runs_of_a_sweep_share_a_group(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert run("-m", "attack=none,fgsm", "logger=wandb") == 0
    files = list(latest(root).rglob("*.wandb"))
    assert len(files) == 3  # two cells and the matrix
    runs = [record.run for path in files for record in finished(path) if record.HasField("run")]
    assert {run.run_group for run in runs} == {latest(root).name}
    assert len({run.run_id for run in runs}) == 3
    assert run("-m", "attack=none,fgsm", "logger=wandb") == 0  # all were there before
    assert len(list(latest(root).rglob("*.wandb"))) == 3


@pytest.mark.slow
def test_a_segmenter_goes_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = [
        f"paths.root={tmp_path}",
        "trainer=cpu",
        "data=kvasir_seg",
        "data.phantom=true",
        "data.phantom_n=20",
        "data.size=32",
        "logger=none",
    ]
    sweep = ["attack=none,pgd", "defense=none,medrdf_seg", "copies=40", "table.metric=dice"]
    quick = ["trainer.max_epochs=1", "progress_bar=false"]
    assert run_here(monkeypatch, "train.py", *masks, *quick) == 0
    assert run_here(monkeypatch, "evaluate.py", "-m", *masks, *sweep) == 0
    found = rows(tmp_path)
    assert len(found) == 4
    for row in found:
        assert {"dice", "jaccard", "pixel_accuracy", "clean_dice"} <= set(row.metrics)
        assert row.confusion is None
        assert row.metrics["dice"] >= row.metrics["jaccard"]
        beside = PerImage.read(RowStore(tmp_path / "outputs/rows").per_image(row.id))
        assert beside is not None
        assert len(beside.ids) == row.n
        assert beside.columns["dice"].mean() == row.metrics["dice"]
    store = RowStore(tmp_path / "outputs/rows")
    row_id = found[0].id
    for path in (store.per_image(row_id), store.picture(row_id)):  # damaged ones are made again
        path.write_bytes(path.read_bytes()[:100])
    text = store.path(row_id).read_text()
    one = [f"{axis}={found[0].cell[axis]}" for axis in ("attack", "defense")]
    assert run_here(monkeypatch, "evaluate.py", *masks, *one, "copies=40") == 0
    assert state(all_paths(store)) == State((), ())
    assert store.path(row_id).read_text() == text
    for defense in ("none", "medrdf_seg"):
        clean, attacked = (
            next(r for r in found if r.cell["attack"] == attack and r.cell["defense"] == defense)
            for attack in ("none", "pgd")
        )
        assert clean.metrics["dice"] == clean.metrics["clean_dice"]
        assert attacked.metrics["clean_dice"] == clean.metrics["dice"]
        if defense == "none":
            assert attacked.metrics["dice"] <= clean.metrics["dice"]


@pytest.mark.by_default("flags1")
@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"]])
def test_help_comes_without_heavy_imports(flags: list[str]) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['evaluate.py', *{flags}]\n"
        f"runpy.run_path({str(ROOT / 'evaluate.py')!r}, run_name='__main__')\n"
        "heavy = {'torch', 'pytorch_lightning', 'timm', 'pandas', 'wandb'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "victim_seed:" in done.stdout


def options(group: str) -> list[str]:
    files = (CONF / group).rglob("*.yaml")
    names = [path.relative_to(CONF / group).with_suffix("").as_posix() for path in files]
    parts = ("noise/", "denoiser/", "estimator/", "target/")  # groups of their own
    return [f"{group}={name}" for name in sorted(names) if not name.startswith(parts)]


@pytest.mark.parametrize(
    "override",
    [
        # Variants are composed with the experiments, attacks without evaluate.yaml.
        slow_unless("/" not in word and (group != "attack" or word == "attack=pgd"), word)
        for group in ("attack", "threat", "defense")
        for word in options(group)
    ],
)
def test_every_choice_composes_and_can_be_made(override: str) -> None:
    from hydra.utils import instantiate

    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("evaluate", overrides=[override])
    group = override.split("=")[0]
    node = config[group]
    if override in ("threat=transfer", "attack=external"):  # need a trained victim, a library
        assert OmegaConf.to_container(node, resolve=False)
        return
    made = instantiate(node)
    assert made.settings["class"] == node._target_.rpartition(".")[2]
    assert len(made.fingerprint) == 64


@pytest.mark.parametrize("name", ["demo", "medrdf/table3"])
def test_experiments_compose(name: str) -> None:
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("evaluate", overrides=[f"experiment={name}"], return_hydra_config=True)
    jobs = planned(config)
    chosen = {(key, job[key]) for job in jobs for key in job if "." not in key and "/" not in key}
    for group in {group for group, _ in chosen}:
        known = options(group)
        for value in [value for key, value in chosen if key == group]:
            assert f"{group}={value}" in known
    if name == "medrdf/table3":
        defenses = {job["defense"] for job in jobs if job["defense"] != "none"}
        assert set(config.table.reference.defenses) == defenses
