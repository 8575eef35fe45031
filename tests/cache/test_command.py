"""`medrobust cache`: what is shown, what is found damaged, what may go."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from medrobust.cache.inventory import references
from medrobust.cache.tensors import TensorCache
from medrobust.cli.cache import main
from medrobust.result.row import Row
from medrobust.result.scores import Scores
from medrobust.result.sealed import read_sealed
from medrobust.result.store import RowStore

SET, CLEAN, ANSWERS, LOOSE, OLD = (letter * 64 for letter in "abcde")


class Place:
    """A cache and a folder of rows; one row refers to the first three entries."""

    def __init__(self, folder: Path) -> None:
        self.cache = TensorCache(folder / "cache")
        self.rows = RowStore(folder / "rows")
        for key in (SET, LOOSE):
            self.cache.put(key, {"images": torch.rand(3, 3, 8, 8)}, {})
        for key in (CLEAN, ANSWERS, OLD):
            self.cache.put(key, {"label": torch.arange(3)}, {})
        keys = {"adversarial_set": SET, "clean_answers": CLEAN, "answers": ANSWERS}
        cell = {"attack": "pgd", "threat": "oblivious", "defense": "median"}
        self.rows.put(Row("f" * 64, "done", cell, fingerprints=keys))

    def run(self, action: str, *more: str) -> int:
        places = ["--cache", str(self.cache.folder), "--rows", str(self.rows.folder)]
        return main([action, *places, *more])

    def age(self, key: str, days: float) -> None:
        then = time.time() - 86400 * days
        os.utime(self.cache.path(key), (then, then))

    def spoil(self, key: str) -> None:
        content = bytearray(self.cache.path(key).read_bytes())
        content[-3] ^= 1
        self.cache.path(key).write_bytes(content)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_answers_of_further_draws_belong_to_their_row(place: Place) -> None:
    keys = {"adversarial_set": SET, "clean_answers_1": CLEAN, "answers_12": OLD, "answers": ANSWERS}
    found = references([place.rows.folder])
    assert OLD not in found.rows
    place.rows.put(Row("e" * 64, "done", {}, fingerprints=keys | {"answers_x": LOOSE}))
    found = references([place.rows.folder])
    assert {key for key, rows in found.rows.items() if rows[0].id == "e" * 64} >= {OLD}
    assert LOOSE not in found.rows


def test_answers_that_chose_a_threshold_belong_to_their_row(place: Place) -> None:
    place.rows.put(Row("e" * 64, "done", {}, fingerprints={"validation_answers": OLD}))
    assert OLD in references([place.rows.folder]).rows


def test_list_shows_every_file_and_who_refers_to_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.age(OLD, 40)
    assert place.run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    (row,) = [line for line in lines if SET[:16] in line]
    assert "adversarial set" in row
    assert "ffffffff pgd oblivious median" in row
    (old,) = [line for line in lines if OLD[:16] in line]
    assert "answers" in old
    assert "40 d" in old
    assert "none" in old
    assert any("5 files" in line for line in lines)


def test_verify_finds_damage(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run("verify") == 0
    place.spoil(SET)
    assert place.run("verify") == 1
    said = capsys.readouterr().out
    assert f"{SET}.safetensors does not match its checksum" in said
    assert "ffffffff pgd oblivious median" in said
    assert "1 of 5 damaged" in said


def test_prune_leaves_what_a_row_refers_to(place: Place) -> None:
    assert place.run("prune") == 0
    assert place.cache.keys() == [SET, CLEAN, ANSWERS]


def test_a_dry_run_removes_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert place.run("prune", "--dry-run") == 0
    assert len(place.cache.keys()) == 5
    assert "would go: 2 files" in capsys.readouterr().out


def test_younger_ones_stay(place: Place) -> None:
    place.age(OLD, 40)
    place.age(LOOSE, 20)
    place.age(SET, 400)
    assert place.run("prune", "--older-than", "30d") == 0
    assert place.cache.keys() == [SET, CLEAN, ANSWERS, LOOSE]


def test_damaged_ones_go(place: Place) -> None:
    place.spoil(ANSWERS)
    place.spoil(LOOSE)
    assert place.run("prune", "--older-than", "30d") == 0
    assert place.cache.keys() == [SET, CLEAN, OLD]


def test_all_goes_only_when_told(place: Place) -> None:
    assert place.run("prune", "--all") == 0
    assert place.cache.keys() == []
    assert len(place.rows.rows()) == 1


def test_answers_stay_while_a_row_does_not_name_its_own(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.rows.put(Row("0" * 64, "done", {}, fingerprints={"adversarial_set": SET}))
    assert place.run("prune") == 0
    assert place.cache.keys() == [SET, CLEAN, ANSWERS, OLD]
    assert "1 rows of an earlier version" in capsys.readouterr().out


def test_without_rows_nothing_is_taken_for_unused(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = str(place.rows.folder / "nowhere")
    assert main(["prune", "--cache", str(place.cache.folder), "--rows", nowhere]) == 2
    assert "is no folder of rows" in capsys.readouterr().err
    place.rows.path("0" * 64).write_text("{")
    assert place.run("prune") == 2
    assert "is not JSON" in capsys.readouterr().err
    assert len(place.cache.keys()) == 5


def test_nothing_is_removed_under_a_running_cell(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    with place.cache.in_use():
        assert place.run("prune") == 2
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err
    assert len(place.cache.keys()) == 5


def test_half_written_files_of_the_dead_go_after_an_hour(place: Place) -> None:
    young, old = (place.cache.folder / "aa" / f".{SET}.safetensors.1-{n}" for n in "12")
    for path in (young, old):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    assert place.run("prune") == 0
    assert young.exists()
    assert not old.exists()


@pytest.mark.parametrize("age", ["30", "d", "1y", "-1d"])
def test_an_odd_age_is_refused(age: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["prune", f"--older-than={age}"])
    assert "as in 30d" in capsys.readouterr().err


def test_help_comes_without_heavy_imports() -> None:
    code = (
        "import sys\nfrom medrobust.cli.cache import parser\nparser().format_help()\n"
        "assert not {'torch', 'rich'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_verify_reads_the_files_beside_rows(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = place.rows.scores("f" * 64)
    right = np.array([True])
    Scores(np.ones(1), np.ones(1), right, right, 0.5, changed=True).write(bad)
    assert place.run("verify") == 0
    assert "without a checksum" not in capsys.readouterr().out
    whole = bad.read_bytes()
    bad.write_bytes(read_sealed(bad).content)
    assert place.run("verify") == 0
    said = capsys.readouterr().out
    assert "1 rows and files next to them were written without a checksum" in said
    bad.write_bytes(whole.replace(b"right", b"wrong"))
    place.rows.picture("e" * 64).write_bytes(b"of a row that is gone")
    assert place.run("verify") == 1
    said = capsys.readouterr().out
    assert f"✗ {bad} is damaged (its checksum does not match)" in said
    assert f"✗ {place.rows.picture('e' * 64)} is damaged" in said
    assert "2 damaged files next to rows" in said


def test_a_folder_may_look_like_markup(tmp_path: Path) -> None:
    place = Place(tmp_path / "[red]" / "[" / "x]")
    place.spoil(SET)
    assert place.run("verify") == 1


def test_verify_names_every_damaged_row(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.rows.put(Row("d" * 64, "done", {}))
    for letter, old, new in (("f", '"n": 0', '"n": 9'), ("d", "{", "[")):
        path = place.rows.path(letter * 64)
        path.write_text(path.read_text().replace(old, new, 1))
    assert place.run("verify") == 1
    said = capsys.readouterr().out
    assert f"{'f' * 64}.json is damaged: its checksum does not match; delete it" in said
    assert f"{'d' * 64}.json is not JSON" in said
    assert "2 damaged rows" in said
    assert place.run("prune") == 2  # what they refer to is not known
    assert len(place.cache.keys()) == 5
