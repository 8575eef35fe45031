"""The callback inside a real, tiny Hydra application."""

import io
import json
import os
import runpy
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from medrobust.cli.report import main

APP = """
import json, os, signal
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from medrobust.result.row import Row
from medrobust.result.store import RowStore

@hydra.main(version_base="1.3", config_path=".", config_name="config")
def app(cfg):
    store = RowStore(cfg.rows)
    cell = {"data": "d", "model": "m", "objective": "s", "threat": "oblivious",
            "surrogate": "", "attack": cfg.attack, "defense": cfg.defense}
    row_id = f"{cfg.attack}-{cfg.defense}"
    bad = cfg.attack in cfg.fail
    old = store.get(row_id)
    if cfg.attack == cfg.die:
        os.kill(os.getpid(), signal.SIGKILL)
    status = "failed" if bad else "skipped" if old and old.status == "done" else "done"
    if status != "skipped":
        store.put(Row(id=row_id, status=status, cell=cell, n=100, revision="r",
            metrics={} if bad else {"accuracy": 0.5},
            intervals={} if bad else {"accuracy": [0.4, 0.6]},
            config={"attack": cfg.attack, "defense": cfg.defense},
            error="Traceback\\nValueError: boom" if bad else None))
    if cfg.attack == cfg.forget:
        store.path(row_id).unlink()
    if cfg.attack == cfg.damage:
        store.path(row_id).write_text("{")
    folder = Path(HydraConfig.get().runtime.output_dir)
    if cfg.attack != cfg.silent:
        (folder / "cell.json").write_text(json.dumps({"row": row_id, "status": status,
            "overrides": [], "rows": cfg.rows}))

app()
"""
CONFIG = """
attack: pgd
defense: none
rows: rows
fail: []
die: null
forget: null
damage: null
silent: null
table: {title: "A ${defense} table", rows: [defense], columns: [attack]}
hydra:
  sweep: {dir: out}
  callbacks:
    table: {_target_: medrobust.report.callback.TableCallback, formats: [csv, md, tex]}
"""
BLOCKS = """
  sweeper:
    params: {attack: "none,pgd", defense: none}
    blocks: [{attack: "pgd,bim", defense: "none,median"}]
"""
SWEEP = ("-m", "attack=none,pgd,bim", "defense=none,median")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "config.yaml").write_text(CONFIG)
    return tmp_path


def run(app: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """What `python app.py OVERRIDES…` prints and exits with, in this process."""
    GlobalHydra.instance().clear()
    command, status = ["app.py", *overrides], 0
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(app)
        patch.setattr(sys, "argv", command)
        try:
            runpy.run_path("app.py", run_name="__main__")
        except SystemExit as leave:
            status = int(leave.code or 0)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())


def run_forked(app: Path, *overrides: str) -> int:
    """Its exit status in a process of its own, which may be killed; negative for a signal."""
    process = os.fork()
    if process == 0:
        try:
            run(app, *overrides)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def test_a_whole_sweep_exits_with_0(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(app, *SWEEP, "hydra.callbacks.table.formats=null")
    assert result.returncode == 0, result.stderr
    assert "A none table" in result.stdout
    assert "6 jobs: 6 rows done (0 were there before), 0 failed or missing" in result.stdout
    files = {kind: (app / "out" / f"table.{kind}").read_bytes() for kind in ("csv", "md", "tex")}
    assert (app / "out" / "table.png").read_bytes().startswith(b"\x89PNG")
    again = run(app, *SWEEP)
    assert "6 rows done (6 were there before)" in again.stdout
    monkeypatch.chdir(app)
    assert main(["out", "--out", "rebuilt"]) == 0
    for kind, data in files.items():
        assert (app / "out" / f"table.{kind}").read_bytes() == data
        assert (app / "rebuilt" / f"table.{kind}").read_bytes() == data


def test_what_is_missing_is_named_and_exits_with_1(app: Path) -> None:
    command = "-m attack=none,a,b,c,d fail=[a] forget=b damage=c silent=d"
    result = run(app, *command.split())
    assert result.returncode == 1
    assert "5 jobs: 1 rows done (0 were there before), 4 failed or missing" in result.stdout
    for message in (
        "✗ job 1 (attack=a) failed: ValueError: boom (traceback: `error` in rows/a-none.json)",
        "✗ job 2 (attack=b): its row rows/b-none.json is gone",
        "✗ job 3 (attack=c): rows/c-none.json is not JSON",
        "✗ job 4 (attack=d) was killed before its end",
    ):
        assert message in result.stderr
    assert f"python app.py {command}".replace("[a]", "'[a]'") in result.stderr.replace(
        "'fail=[a]'", "fail='[a]'"
    )
    assert "✗ failed" in (app / "out" / "table.md").read_text()


def test_a_killed_sweep_is_rebuilt(
    app: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_forked(app, *SWEEP, "die=pgd") == -signal.SIGKILL
    assert not (app / "out" / "table.md").exists()
    monkeypatch.chdir(app)
    assert main(["out", "--format", "md"]) == 1
    printed = capsys.readouterr().err
    assert "✗ job 2 (attack=pgd defense=none) was killed before its end" in printed
    assert "✗ job 5 (attack=bim defense=median) did not start" in printed
    assert "| 50.0 |" in (app / "out" / "table.md").read_text()
    (app / "out" / "sweep.json").unlink()
    assert main(["out", "--format", "md"]) == 1
    assert "✗ job 2 (attack=pgd defense=none die=pgd) was killed" in capsys.readouterr().err


def test_a_wrong_table_is_told_before_the_first_job(app: Path) -> None:
    result = run(app, *SWEEP, "table.rows=[defence]")
    assert result.returncode == 2
    assert "table axis 'defence' is unknown" in result.stderr
    result = run(app, *SWEEP, "+table.metric=acuracy")
    assert result.returncode == 2
    assert "'acuracy' is no metric of this package; did you mean accuracy" in result.stderr
    assert not (app / "rows").exists()


def test_a_table_that_cannot_be_made_exits_with_2(app: Path) -> None:
    result = run(app, "-m", "attack=none,pgd", "+table.metric=dice")
    assert result.returncode == 2
    assert "no row has the metric 'dice'" in result.stderr
    broken = "hydra.callbacks.table.formats=[gif]"
    result = run(app, "-m", "attack=none,pgd", broken)
    assert result.returncode == 2
    assert "formats" in result.stderr


def test_an_earlier_sweep_in_the_same_folder_does_not_count(app: Path) -> None:
    assert run(app, *SWEEP).returncode == 0
    result = run(app, "-m", "attack=none,pgd")
    assert result.returncode == 0
    assert "2 jobs: 2 rows done" in result.stdout


@pytest.mark.slow
def test_blocks_of_the_sweeper_are_planned_and_run(app: Path) -> None:
    (app / "hydra" / "sweeper").mkdir(parents=True)
    matrix = Path(__file__).parents[2] / "conf/hydra/sweeper/matrix.yaml"
    (app / "hydra" / "sweeper" / "matrix.yaml").write_text(matrix.read_text())
    config = "defaults: [override hydra/sweeper: matrix, _self_]\n" + CONFIG + BLOCKS
    (app / "config.yaml").write_text(config)
    result = run(app, "-m")
    assert result.returncode == 0, result.stderr
    assert "5 jobs: 5 rows done" in result.stdout
    plan = json.loads((app / "out" / "sweep.json").read_text())
    assert plan["jobs"][-1] == ["attack=bim", "defense=median"]
    assert run_forked(app, "-m", "attack=none,bim", "die=bim") == -signal.SIGKILL
    assert main([str(app / "out"), "--rows", str(app / "rows")]) == 1
    planned = json.loads((app / "out" / "sweep.json").read_text())["jobs"]
    assert [job[:2] for job in planned] == [
        ["attack=none", "defense=none"],
        ["attack=bim", "defense=none"],
        ["attack=bim", "defense=median"],
    ]


def test_importing_the_callback_is_cheap() -> None:
    code = (
        "import sys, medrobust.report.callback; "
        "print([m for m in ('torch', 'pandas', 'matplotlib', 'numpy', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
