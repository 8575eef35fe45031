"""A flipped byte in the cache, in a row or in a checkpoint."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from medrobust.cache.tensors import TensorCache
from medrobust.cli.cache import main
from medrobust.cli.report import main as report
from medrobust.result.store import RowStore
from tests.faults.conftest import Whole
from tests.faults.sweeps import MATRIX, Zygote, left


def spoil(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x04
    path.write_bytes(content)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(0.0, id="length", marks=pytest.mark.slow),
        pytest.param(0.0005, id="header", marks=pytest.mark.slow),
        pytest.param(0.5, id="body"),
        pytest.param(1.0, id="end", marks=pytest.mark.slow),
    ],
)
def test_a_flipped_byte_in_a_set_is_found_reported_and_remade(
    place: float,
    zygote: Zygote,
    outputs: Path,
    whole: Whole,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(whole.outputs, outputs)
    cache = TensorCache(outputs / "cache")
    row = next(iter(whole.left.rows.values()))
    key = row["fingerprints"]["adversarial_set"]
    spoil(cache.path(key), place)
    shown = ["--cache", str(outputs / "cache"), "--rows", str(outputs / "rows")]
    assert main(["verify", *shown]) == 1
    said = capsys.readouterr().out
    assert key in said
    assert row["id"][:8] in said

    # A defense that is new here needs the set again.
    again = [word.replace("none,median", "none,median,jpeg") for word in MATRIX]
    assert zygote.run(outputs, *again) == 0, (outputs / "log").read_text()
    assert f"{key}.safetensors" in (outputs / "log").read_text()
    assert "it is made again" in (outputs / "log").read_text()
    found = left(outputs)
    assert found.tensors[key] == whole.left.tensors[key]
    assert len(found.rows) == 6
    for row_id, says in whole.left.rows.items():
        assert found.rows[row_id] == says
    assert main(["verify", *shown]) == 0


@pytest.mark.slow
def test_a_damaged_row_is_told_and_made_again(zygote: Zygote, outputs: Path) -> None:
    assert zygote.run(outputs, *MATRIX) == 0
    path = sorted((outputs / "rows").glob("*.json"))[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert zygote.run(outputs, *MATRIX) == 0
    assert f"{path.name} is not JSON" in (outputs / "log").read_text()
    assert json.loads(path.read_bytes())["metrics"] == json.loads(whole)["metrics"]
    assert len(left(outputs).rows) == 4


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.mkdir, (self.target,)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped", "cut", "pickle"])
def test_a_bad_checkpoint_is_refused_and_runs_nothing(
    how: str, zygote: Zygote, outputs: Path, tmp_path: Path
) -> None:
    """Through evaluate.py; the format's own tests are in tests/model/core/test_checkpoint.py."""
    good = next((zygote.root / "checkpoints").rglob("*.ckpt"))
    bad = tmp_path / "bad.ckpt"
    bad.write_bytes(good.read_bytes())
    if how == "flipped":
        spoil(bad, 0.5)
    elif how == "cut":
        bad.write_bytes(good.read_bytes()[:1000])
    else:
        bad.write_bytes(pickle.dumps({"state_dict": Evil(tmp_path / "run")}))
    assert zygote.run(outputs, "-m", "attack=none", f"victim_path={bad}") == 1
    (row,) = left(outputs).rows.values()
    assert row["status"] == "failed"
    assert "VictimError" in row["error"]
    assert str(bad) in row["error"]
    assert not (tmp_path / "run").exists()


def test_a_picture_that_is_gone_or_a_folder_costs_itself(
    zygote: Zygote, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("-m", "attack=none", "batch_size=6", "+hydra.callbacks.table.formats=[csv]")
    assert zygote.run(outputs, *command) == 0, (outputs / "log").read_text()
    (row,) = RowStore(outputs / "rows").rows()
    assert sorted(row.files) == ["images.npz", "png"]
    picture = outputs / "rows" / f"{row.id}.png"
    whole = picture.read_bytes()
    sweep = next(outputs.rglob("sweep.json")).parent
    assert report([str(sweep), "--format", "csv"]) == 0
    picture.unlink()
    assert report([str(sweep), "--format", "csv"]) == 1
    assert f"✗ {picture} is gone; run its cell again to recreate it" in capsys.readouterr().err
    assert zygote.run(outputs, *command) == 0
    assert f"making again: {picture} is gone" in (outputs / "log").read_text()
    assert picture.read_bytes() == whole

    picture.unlink()
    picture.mkdir()
    assert zygote.run(outputs, *command) == 1
    assert f"not written: {picture} is a folder" in (outputs / "log").read_text()
    assert "1 rows done" in (outputs / "log").read_text()
    (again,) = RowStore(outputs / "rows").rows()
    assert again.metrics == row.metrics
    assert again.files == ["images.npz"]
