"""A tiny Hydra application with the project's launchers: it imports nothing heavy."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CONF = Path(__file__).parents[2] / "conf"

APP = """
import json, os, signal, time
from pathlib import Path
import hydra
from hydra.core.hydra_config import HydraConfig
from medrobust.result.row import Row
from medrobust.result.store import RowStore

@hydra.main(version_base="1.3", config_path=".", config_name="config")
def app(cfg):
    store = RowStore(cfg.rows)
    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    tries = folder / "tries"
    tries.write_text(str(int(tries.read_text()) + 1 if tries.exists() else 1))
    (folder / "pid").write_text(str(os.getpid()))
    while len(list(folder.parent.glob("*/pid"))) < cfg.together:
        time.sleep(0.01)
    time.sleep(cfg.seconds)
    if cfg.attack == cfg.die and tries.read_text() in cfg.on:
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.attack == cfg.throw:
        raise OSError("no space left")
    row_id = cfg.attack
    old = store.get(row_id)
    if old is None:
        store.put(Row(id=row_id, status="done", n=100, revision="r",
            cell={"data": "d", "model": "m", "objective": "s", "threat": "oblivious",
                  "surrogate": "", "attack": cfg.attack, "defense": "none"},
            metrics={"accuracy": 0.5}, intervals={"accuracy": [0.4, 0.6]},
            config={"attack": cfg.attack}))
    (folder / "cell.json").write_text(json.dumps({"row": row_id, "overrides": [],
        "status": "skipped" if old else "done", "rows": cfg.rows}))
    (folder / "where.json").write_text(json.dumps({"pid": os.getpid(), "num": job.job.num,
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "threads": os.environ.get("OMP_NUM_THREADS")}))

app()
"""
CONFIG = """
attack: pgd
rows: rows
seconds: 0
together: 1
die: null
"on": "1234"
throw: null
table: {title: T, rows: [defense], columns: [attack]}
hydra:
  sweep: {dir: "out/${now:%H-%M-%S-%f}"}
  callbacks:
    table: {_target_: medrobust.report.callback.TableCallback, formats: [md]}
"""

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "config.yaml").write_text(CONFIG)
    shutil.copytree(CONF / "hydra" / "launcher", tmp_path / "hydra" / "launcher")
    (tmp_path / "tmp").mkdir()
    return tmp_path


@pytest.fixture
def launch(app: Path) -> Launch:
    """Runs the application; `environment` adds to a clean one."""

    def call(*overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {
            key: value
            for key, value in os.environ.items()
            if key not in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
        }
        return subprocess.run(
            [sys.executable, "app.py", "-m", *overrides],
            cwd=app,
            env={**kept, "TMPDIR": str(app / "tmp"), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return call
