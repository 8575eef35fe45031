"""`--plan`: the jobs of Hydra, finished rows, and no file written."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import JobReturn, JobStatus

from hydra_plugins.medrobust_sweeper.sweeper import BasicSweeper
from medrobust.cli.conf import conf_folder
from medrobust.planning import cell, times
from medrobust.planning.clock import Estimate
from medrobust.planning.jobs import Jobs
from medrobust.planning.plan import Plan, plan_of
from medrobust.planning.show import lines
from medrobust.resolvers import register
from tests.faults.victims import make
from tests.support.here import run_here

SWEEP = ["-m", "attack=none,fgsm", "defense=none,median", "+hydra.callbacks.table.formats=[csv]"]


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that name a phantom and its victim."""
    GlobalHydra.instance().clear()
    return make(tmp_path_factory.mktemp("plan"))


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Crafting takes 1 s, an answer to all images 0.01 s, and building a cell nothing."""
    monkeypatch.setattr(times, "time", SimpleNamespace(perf_counter=lambda: 0.0))
    monkeypatch.setattr(cell.Probe, "crafting", lambda probe: Estimate(1.0))
    monkeypatch.setattr(cell.Probe, "answering", lambda probe: Estimate(0.01))


def planned(*words: str) -> Plan:
    register()
    return plan_of(Jobs(words, conf_folder()))


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its size and time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        about = path.stat()
        found[str(path)] = (about.st_size, about.st_mtime_ns)
    return found


def test_a_plan_counts_what_is_done_and_writes_nothing(
    common: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*SWEEP, *common, f"paths.outputs={tmp_path}/outputs", "logger=wandb"]
    root = Path(next(word for word in common if word.startswith("paths.root=")).partition("=")[2])
    before = tree(root), tree(tmp_path)
    assert run_here(monkeypatch, "evaluate.py", *words, "--plan", "3") == 0
    assert (tree(root), tree(tmp_path)) == before
    said = capsys.readouterr().out
    assert "Plan: 4 cells, 0 done, 4 to compute" in said
    assert "± 3 points: 1064 (more than there are) images" in said
    done = [*SWEEP[:1], "attack=fgsm", *SWEEP[2:], *common, f"paths.outputs={tmp_path}/outputs"]
    assert run_here(monkeypatch, "evaluate.py", *done) == 0
    before = tree(root), tree(tmp_path)
    plan = planned(*words)
    assert (tree(root), tree(tmp_path)) == before
    assert (plan.total.cells, plan.total.done, plan.total.unknown) == (4, 2, 0)
    by_name = {(names[-2], names[-1]): line for names, line in plan.lines.items()}
    assert {names for names, line in by_name.items() if line.done} == {
        ("none", "fgsm"), ("median", "fgsm"),
    }  # fmt: skip
    # Numbers of other code, or of another seed, are not done.
    assert planned(*words, "seed=1").total.done == 0
    assert planned(*words, "rerun=true").total.done == 0


@pytest.mark.slow
def test_shared_work_is_counted_once(common: list[str], tmp_path: Path) -> None:
    outputs = f"paths.outputs={tmp_path}/outputs"
    one = planned(*common, outputs, "attack=fgsm")
    oblivious = planned("-m", *common, outputs, "attack=fgsm", "defense=none,median,jpeg")
    adaptive = planned(
        "-m", *common, outputs, "attack=fgsm", "defense=none,median,jpeg", "threat=adaptive"
    )
    assert one.total.seconds == Estimate(pytest.approx(1 + 2 * 0.01))
    # One set for all defenses, or one for each.
    assert oblivious.total.seconds == Estimate(pytest.approx(1 + 6 * 0.01))
    assert adaptive.total.seconds == Estimate(pytest.approx(3 + 6 * 0.01))
    # Clean answers once, attacked ones twice.
    clean = planned("-m", *common, outputs, "attack=none,fgsm,bim", "defense=median")
    assert clean.total.seconds == Estimate(pytest.approx(3 + 3 * 0.01))


def test_a_missing_victim_names_its_training_and_not_its_error(
    common: list[str], tmp_path: Path
) -> None:
    words = ["-m", *common, f"paths.outputs={tmp_path}/outputs", "attack=fgsm,bim"]
    plan = planned(*words, "victim_seed=0,7")
    assert (plan.total.cells, plan.total.unknown) == (4, 0)
    (command,) = plan.commands
    assert " seed=7 " in f"{command} "
    # The missing victim takes as long as the other one: answers to clean images once for each.
    assert plan.total.seconds == Estimate(pytest.approx(4 + (2 + 4) * 0.01))
    lost = planned(*words, "victim_seed=7")
    assert (lost.total.cells, lost.total.unknown) == (2, 2)
    assert "Time: not measured on this machine (cpu)" in " ".join(lines(lost, None))
    told = " ".join(lines(lost, None))
    assert "set train=missing:" in told
    assert "they are trained first:" in " ".join(
        lines(planned(*words, "victim_seed=7", "train=missing"), None)
    )


def test_a_cell_that_cannot_be_built_is_told_and_the_others_planned(
    common: list[str], tmp_path: Path
) -> None:
    words = ["-m", *common, f"paths.outputs={tmp_path}/outputs", "attack=none,fgsm"]
    plan = planned(*words, "split=test,elsewhere")
    assert (plan.total.cells, plan.total.unknown) == (4, 2)
    ((problem, cells),) = plan.problems.items()
    assert "split" in problem
    assert cells == 2


def test_fewer_images_than_asked_are_told(common: list[str], tmp_path: Path) -> None:
    plan = planned(*common, f"paths.outputs={tmp_path}/outputs", "data.limit_test=900")
    ((name, split),) = plan.images
    images = plan.images[name, split]
    assert images.n == images.whole < images.asked == 900
    said = " ".join(lines(plan, None))
    assert f"data.limit_test=900, but {name}, split test has only {images.n}" in said


@pytest.mark.parametrize(
    "words",
    [
        ["attack=fgsm"],
        ["-m", "attack=fgsm,bim", "defense=none,median", "seed=range(3)"],
        ["-m", "attack=glob(*pgd*)", "defense=none"],
        ["-m", "experiment=mdda/table2", "attack=strongest,fgsm"],
        *(
            pytest.param(["-m", *words], marks=pytest.mark.slow)
            for words in (
                ["attack=glob(*,exclude=[a*,*g*])", "eps=1/255,2/255"],
                ["experiment=mdda/table2"],
                ["experiment=medrdf/table3", "threat=adaptive"],
                ["experiment=medical_aegis/table2", "hydra.sweeper.max_batch_size=3"],
            )
        ),
    ],
)
def test_the_jobs_are_those_that_hydra_launches(
    words: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra._internal.core_plugins import basic_launcher

    launched: list[list[str]] = []

    def launch(self: object, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list:
        launched.extend(list(job) for job in job_overrides)
        return [JobReturn(overrides=job, status=JobStatus.COMPLETED) for job in job_overrides]

    monkeypatch.setattr(basic_launcher.BasicLauncher, "launch", launch)
    monkeypatch.setattr(BasicSweeper, "validate_batch_is_legal", lambda *_: None)
    monkeypatch.setattr(
        "medrobust.evaluation.run.run_cell", lambda config: launched.append(["alone"])
    )
    quiet = ["~hydra.callbacks.table", "~hydra.callbacks.countdown", f"paths.root={tmp_path}"]
    assert run_here(monkeypatch, "evaluate.py", *words, *quiet) == 0
    register()
    jobs = Jobs([*words, *quiet], conf_folder())
    assert len(jobs) == len(launched) > 0
    if "-m" in words:
        assert jobs.overrides == launched
