"""Notebooks run from top to bottom on hand-made rows."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from matplotlib import pyplot as plt

from medrobust.cache.tensors import TensorCache
from medrobust.result.row import Row
from medrobust.result.store import RowStore

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def run(name: str) -> dict[str, Any]:
    mpl.use("Agg")
    plt.close("all")
    names: dict[str, Any] = {}
    path = FOLDER / f"{name}.ipynb"
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(path), "exec"), names)
    return names


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RowStore:
    """Two attacks with two budgets each, and their sets."""
    monkeypatch.setenv("MEDROBUST_ROWS", str(tmp_path / "rows"))
    monkeypatch.setenv("MEDROBUST_CACHE", str(tmp_path / "cache"))
    store, cache = RowStore(tmp_path / "rows"), TensorCache(tmp_path / "cache")
    for number, attack in enumerate(("fgsm", "pgd")):
        for grey in (2, 4):
            row_id, key = f"{attack}-{grey}", f"{number}{grey}"
            cell = dict.fromkeys(("objective", "surrogate"), "") | {
                "data": "dermamnist",
                "model": "resnet18",
                "threat": "oblivious",
                "attack": attack,
                "defense": "none",
            }
            store.put(
                Row(
                    id=row_id,
                    status="done",
                    cell=cell,
                    attack_variant={"eps": f"{grey}/255", "step_size": grey / 100},
                    metrics={"accuracy": 0.25 * number + grey / 100, "clean_accuracy": 0.9},
                    intervals={"accuracy": [0.0, 0.5], "clean_accuracy": [0.8, 0.95]},
                    fingerprints={"victim": "v", "images": "i", "adversarial_set": key},
                )
            )
            cache.put(key, {"images": (IMAGES + grey / 255).clamp(0, 1)}, {})
    return store


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_without_rows_it_says_what_to_do(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDROBUST_ROWS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="MEDROBUST_ROWS"):
        run(notebook.stem)


def test_the_matrix_shows_the_rows_numbers(rows: RowStore) -> None:
    found = run("matrix")["matrix"].to_numpy().tolist()
    assert found == [pytest.approx([0.03, 0.28])]  # means over the two budgets


def test_the_curves_run_through_the_rows_numbers(rows: RowStore) -> None:
    curves = run("curves")["curves"]
    assert [key[5] for key in curves] == ["fgsm", "pgd"]
    for number, points in enumerate(curves.values()):
        assert [eps for eps, *_ in points] == [0.0, 2 / 255, 4 / 255]
        values = [value for _, value, *_ in points]
        assert values == pytest.approx([0.9, 0.25 * number + 0.02, 0.25 * number + 0.04])
    assert len(plt.get_fignums()) == 2


def test_the_gallery_shows_the_cached_pixels(rows: RowStore, tmp_path: Path) -> None:
    plt.imsave(rows.picture("pgd-2"), IMAGES[0, 0].numpy())
    names = run("gallery")
    assert [name.partition(" ")[0] for name in names["sets"]] == ["fgsm", "fgsm", "pgd", "pgd"]
    assert [row.id for row in names["sheets"]] == ["pgd-2"]
    shown = torch.as_tensor(names["grid"][1][0].images[0].get_array())
    assert torch.equal(shown, (IMAGES[1, 0] + 2 / 255).clamp(0, 1))
    for path in (tmp_path / "cache").rglob("*.safetensors"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="MEDROBUST_CACHE"):
        run("gallery")


def test_there_are_notebooks_without_stored_outputs() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"matrix", "curves", "gallery"}
    for notebook in NOTEBOOKS:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        assert not any(cell.get("outputs") for cell in cells)
