"""A bundle gives the sweep's files again, and shows every alteration."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medrobust.cli.report import main
from medrobust.report.bundle.bundle import NAME, BundleError, read
from medrobust.report.bundle.pack import pack
from medrobust.report.bundle.verify import compare, inspect
from medrobust.report.sweep import collect
from medrobust.result.per_image import PerImage
from medrobust.result.row import Row
from medrobust.result.sealed import read_note, write_note
from medrobust.result.store import RowStore
from tests.report.bundle.conftest import CODE, fit

Published = Callable[..., Path]


def test_it_gives_the_same_files_on_another_machine(
    published: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = published()
    assert main([str(sweep), "--bundle", str(tmp_path / "bundle")]) == 0
    moved = tmp_path / "elsewhere"
    (tmp_path / "bundle").rename(moved)
    for folder, out in ((sweep, "a"), (moved, "b")):
        assert main([str(folder), "--out", str(tmp_path / out), "--format", "csv"]) == 0
    for name in ("table.csv", "images.csv", "differences.csv"):
        one, other = tmp_path / "a" / name, tmp_path / "b" / name
        assert one.exists() == other.exists()
        if one.exists():
            assert one.read_bytes() == other.read_bytes()
    capsys.readouterr()
    assert main([str(moved), "--verify"]) == 0
    assert capsys.readouterr().out == "2 rows are sound\n"
    before = {path: path.read_bytes() for path in sorted(moved.rglob("*")) if path.is_file()}
    pack(collect(sweep), moved)  # packing again changes nothing
    after = {path: path.read_bytes() for path in sorted(moved.rglob("*")) if path.is_file()}
    assert after == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"phantom": True}, "was measured on phantom data"),
        ({"revision": "0123abc-dirty"}, "was made at revision 0123abc-dirty"),
        ({"revision": "unknown"}, "was made at revision unknown"),
        ({"code": {**CODE, "changed": ["attack/pgd.py"]}}, r"changed files \['attack/pgd.py'\]"),
        ({"files": []}, "has no record of its images"),
        ({"overrides": ["data.root=/home/me/data"]}, "holds the path '/home/me/data'"),
        ({"overrides": ["paths={root: ~/runs}"]}, "holds the path '~/runs'"),
        ({"accuracy": None}, "failed, expected done"),
        ({"code": {**CODE, "package": "b" * 64}}, "were made by 2 states of the code"),
    ],
)
def test_rows_that_nobody_could_check_are_not_packed(
    published: Published, tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    sweep = published([fit("bim"), fit("pgd", **more)])
    with pytest.raises(BundleError, match=message):
        pack(collect(sweep), tmp_path / "bundle")
    assert not (tmp_path / "bundle" / NAME).exists()


def test_fractions_and_targets_are_no_paths(published: Published, tmp_path: Path) -> None:
    fine = ["eps=8/255", "attack/target=least_likely", "data.root=data", "experiment=medrdf/table3"]
    sweep = published([fit("pgd", overrides=fine)])
    pack(collect(sweep), tmp_path / "bundle")
    assert read(tmp_path / "bundle").sweep.rows[0].overrides == fine


def _digit(folder: Path) -> None:
    """Alter a digit of a row, its seal, and the note: what a careful forger would do."""
    path = sorted((folder / "rows").glob("*.json"))[0]
    row = Row.from_json(path.read_text(), str(path))
    path.write_text(replace(row, metrics={**row.metrics, "accuracy": 0.9}).to_json())
    note = read_note(folder / NAME)
    note["files"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_note(folder / NAME, note)


def test_a_forged_accuracy_is_not_the_mean_of_its_images(
    published: Published, tmp_path: Path
) -> None:
    bundle = pack(collect(published()), tmp_path / "bundle").parent
    assert inspect(read(bundle)) == []
    _digit(bundle)
    (found,) = inspect(read(bundle))
    assert "says accuracy 0.9000, expected 0." in found


@pytest.mark.parametrize("kind", ["row", "record", "gone", "more", "note", "no note"])
def test_altered_files_are_named(published: Published, tmp_path: Path, kind: str) -> None:
    bundle = pack(collect(published()), tmp_path / "bundle").parent
    row = sorted((bundle / "rows").glob("*.json"))[0]
    record = sorted((bundle / "rows").glob("*.npz"))[0]
    touched = {"row": row, "record": record, "gone": record, "more": row, "note": bundle / NAME}
    path = touched.get(kind, bundle / NAME)
    if kind == "row":
        row.write_text(row.read_text().replace('"n": 4', '"n": 5'))
    elif kind == "record":
        PerImage(("a",), {"correct": np.ones(1)}).write(record)
    elif kind == "gone":
        record.unlink()
    elif kind == "more":
        path = bundle / "rows" / "other.json"
        path.write_text("{}")
    elif kind == "note":
        path.write_text(json.dumps(json.loads(path.read_text()) | {"jobs": 1}))
    else:
        path.unlink()
    with pytest.raises(BundleError, match=path.name):
        read(bundle)


def test_a_sweep_run_again_is_compared_row_by_row(
    published: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = published()
    bundle = pack(collect(sweep), tmp_path / "bundle").parent
    assert main([str(sweep), "--verify", str(bundle)]) == 0
    store = RowStore(tmp_path / "rows")
    one, other = collect(sweep).rows
    store.put(replace(one, metrics={**one.metrics, "accuracy": 0.51}))  # one row moved a little
    assert compare(collect(sweep), read(bundle)) == []
    (line,) = compare(collect(sweep), read(bundle), tolerance=0.005)
    assert line.endswith("accuracy is 0.5100, expected 0.5000 within 0.005")
    store.path(other.id).unlink()
    capsys.readouterr()
    assert main([str(sweep), "--verify", str(bundle)]) == 1
    said = capsys.readouterr().err
    assert f"row {other.id[:12]} (threat=oblivious attack=bim defense=none) is missing" in said
    assert "no row is of its cell" in said


def test_a_row_of_other_weights_is_told_by_its_fingerprint(
    published: Published, tmp_path: Path
) -> None:
    ours = fit("pgd", fingerprints={"victim": "a", "images": "c"})
    bundle = pack(collect(published([ours])), tmp_path / "bundle").parent
    sweep = collect(tmp_path / "sweep")
    theirs = replace(ours, id="f" * 16, fingerprints={"victim": "b", "images": "c"})
    (line,) = compare(replace(sweep, rows=(theirs,)), read(bundle))
    assert line.endswith("row ffffffffffff is of the same cell, but has another victim")
