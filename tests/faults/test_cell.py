"""What goes wrong inside one cell stays there, and says where."""

from pathlib import Path

import numpy as np
import pytest

from tests.faults.sweeps import MATRIX, Zygote, left
from tests.support.kinds import one_of_each


def brightness(zygote: Zygote) -> tuple[float, list[float]]:
    """A threshold between the test images' means, and the means of all of them."""
    path = next((zygote.root / "data").rglob("*.npz"))
    with np.load(path) as arrays:
        means = (arrays["test_images"] / 255).mean(axis=(1, 2, 3))
    return float(np.quantile(means, 0.7)), means.tolist()


@pytest.mark.parametrize("name", one_of_each(["Picky", "NotANumber"], {"Picky"}))
def test_a_defense_that_fails_for_some_images(name: str, zygote: Zygote, outputs: Path) -> None:
    threshold, means = brightness(zygote)
    faulty = [f"+defense.brightest={threshold}", f"defense._target_=broken.{name}"]
    alone = ["-m", "attack=none", "batch_size=6", "defense=none"]
    assert zygote.run(outputs, *alone, *faulty) == 1
    assert zygote.run(outputs, *alone) == 0
    rows = sorted(left(outputs).rows.values(), key=lambda row: row["status"])
    assert [row["status"] for row in rows] == ["done", "failed"]
    error = rows[1]["error"]
    named = [int(word.strip(" ,:").rsplit("/", 1)[1]) for word in words(error)]
    assert named, error
    assert all(means[place] > threshold for place in named)


def words(error: str) -> list[str]:
    return [word for word in error.split() if word.startswith("dermamnist/test/")]


@pytest.mark.slow
def test_others_go_on_after_it(zygote: Zygote, outputs: Path) -> None:
    """Two of three cells of one sweep fail for their own reason."""
    values = "attack.eps=8/255,2,nonsense"
    sweep = [word for word in MATRIX if not word.startswith(("attack=", "defense="))]
    assert zygote.run(outputs, *sweep, "attack=bim", values) == 1
    rows = left(outputs).rows.values()
    assert sorted(row["status"] for row in rows) == ["done", "failed", "failed"]
    errors = " ".join(row["error"] or "" for row in rows)
    assert "attack.eps=2 is out of range" in errors
    assert "attack.eps" in errors
    assert "nonsense" in errors


def test_a_config_that_cannot_be_resolved_fails_its_own_cell(zygote: Zygote, outputs: Path) -> None:
    words = ["-m", "attack=none", "batch_size=6", "defense=none,kd", "model.name=unheard_of"]
    assert zygote.run(outputs, *words, "victim_path=nowhere.ckpt") == 1
    rows = left(outputs).rows.values()
    assert [row["status"] for row in rows] == ["failed", "failed"]
    assert any("no layers are known for a detector" in row["error"] for row in rows)


@pytest.mark.parametrize(
    "override",
    one_of_each(
        ("batch_size=0", "split=tset", "precision=float17", "trainer.accelerator=cpuu"),
        {"split=tset"},
    ),
)
def test_a_value_of_another_type_stops_a_sweep_before_it_starts(
    override: str, zygote: Zygote, outputs: Path
) -> None:
    assert zygote.run(outputs, "-m", "attack=bim,fgsm", override) == 2
    assert not left(outputs).rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("attack.steps=0", ["attack.steps", "0", "expected"]),
        ("attack.eps=-1", ["attack.eps", "-1"]),
        ("data.size=0", ["data.size", "0", "expected"]),
    ],
)
def test_a_value_out_of_range_is_named_and_no_row_lost(
    override: str, named: list[str], zygote: Zygote, outputs: Path
) -> None:
    cell = ["attack=bim", "attack.steps=1", "batch_size=6"]
    assert zygote.run(outputs, "-m", *cell) == 0
    before = left(outputs)
    assert zygote.run(outputs, "-m", *cell, override) == 1
    after = left(outputs)
    failed = [row for row in after.rows.values() if row["status"] == "failed"]
    assert len(failed) == 1
    message = failed[0]["error"].strip().splitlines()[-1]
    for word in named:
        assert word in message, message
    for row_id, written in before.written.items():
        assert after.written[row_id] == written
