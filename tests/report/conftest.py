"""Rows made by hand."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from medrobust.result.row import Row
from medrobust.result.store import RowStore

MakeRow = Callable[..., Row]


def make_row(
    accuracy: float | None = 0.5,
    *,
    attack: str = "pgd",
    defense: str = "none",
    data: str = "dermamnist",
    model: str = "resnet18",
    threat: str = "oblivious",
    objective: str = "standard",
    surrogate: str = "",
    settings: dict[str, Any] | None = None,
    filters: dict[str, Any] | None = None,
    n: int = 2005,
    seed: int = 0,
    **more: Any,
) -> Row:
    """A row; without an accuracy it failed."""
    cell = {
        "data": data,
        "model": model,
        "objective": objective,
        "threat": threat,
        "surrogate": surrogate,
        "attack": attack,
        "defense": defense,
    }
    config = {
        **cell,
        "attack": {"name": attack, **(settings or {})},
        "defense": {"name": defense, **(filters or {})},
        "seed": seed,
        **more.pop("config", {}),
    }
    kind = attack.rpartition("/")[2].split("_")[0]
    done = accuracy is not None
    kind_key = "class" if done else "_target_"  # a failed row has its config
    row_id = json.dumps([config, n], sort_keys=True)
    fields: dict[str, Any] = {
        "id": hashlib.sha256(row_id.encode()).hexdigest()[:16],
        "status": "done" if done else "failed",
        "attack_variant": {kind_key: f"attack.{kind}", **(settings or {})},
        "defense_variant": {kind_key: f"defense.{defense}", **(filters or {})},
        "metrics": {"accuracy": accuracy, "balanced_accuracy": accuracy / 2} if done else {},
        "intervals": (
            {"accuracy": [max(accuracy - 0.02, 0.0), min(accuracy + 0.02, 1.0)]} if done else {}
        ),
        "error": None if done else "Traceback:\n  …\nRuntimeError: CUDA out of memory",
        "revision": "0123abc",
        **more,
    }
    return Row(cell=cell, n=n if done else 0, seed=seed, config=config, **fields)


@pytest.fixture
def row() -> MakeRow:
    return make_row


@pytest.fixture
def sweep_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a sweep folder as evaluate.py leaves it."""

    def write(rows: Sequence[Row], table: dict[str, Any], killed: int = 0) -> Path:
        folder, store = tmp_path / "sweep", RowStore(tmp_path / "rows")
        jobs = [[f"attack={item.cell['attack']}"] for item in rows]
        for number, item in enumerate(rows):
            job = folder / str(number)
            (job / ".hydra").mkdir(parents=True)
            lines = "".join(f"- {text}\n" for text in jobs[number])
            (job / ".hydra" / "overrides.yaml").write_text(lines)
            (job / ".hydra" / "config.yaml").write_text(json.dumps({"table": table}))
            if number < len(rows) - killed:
                store.put(item)
                mark = {"row": item.id, "status": item.status, "rows": str(store.folder)}
                (job / "cell.json").write_text(json.dumps(mark))
        plan = {"table": table, "jobs": jobs, "command": "medrobust evaluate -m"}
        (folder / "sweep.json").write_text(json.dumps(plan))
        return folder

    return write
