"""Notebooks run from top to bottom on hand-made rows."""

import json
from pathlib import Path

import matplotlib as mpl
import pytest

from medrobust.result.row import Row
from medrobust.result.store import RowStore

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def run(notebook: Path) -> dict[str, object]:
    mpl.use("Agg")
    names: dict[str, object] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(notebook), "exec"), names)
    return names


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_and_shows_the_rows_numbers(notebook, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDROBUST_ROWS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="MEDROBUST_ROWS"):
        run(notebook)
    for number, attack in enumerate(("fgsm", "pgd")):
        cell = dict.fromkeys(("objective", "surrogate"), "") | {
            "data": "dermamnist",
            "model": "resnet18",
            "threat": "oblivious",
            "attack": attack,
            "defense": "none",
        }
        RowStore(tmp_path).put(
            Row(
                id=str(number),
                status="done",
                cell=cell,
                metrics={"accuracy": 0.25 * number},
                intervals={"accuracy": [0.0, 0.5]},
            )
        )
    found = run(notebook)["matrix"].to_numpy().tolist()
    assert found == [[0.0, 0.25]]


def test_there_are_notebooks_without_stored_outputs():
    assert NOTEBOOKS
    for notebook in NOTEBOOKS:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        assert not any(cell.get("outputs") for cell in cells)
