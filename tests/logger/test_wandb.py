import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medrobust.evaluation.record.pictures import sheet
from medrobust.logger.cell import kept_pictures, log_cell
from medrobust.logger.wandb import WandbLogger, logged_in, resolve_mode, tags_of
from medrobust.result.flag import flag
from medrobust.result.row import Row
from tests.support.wandb_file import finished

ROW = Row(
    id="abc",
    status="done",
    cell={"data": "dermamnist", "attack": "mdda/pgd", "defense": "none", "surrogate": ""},
    n=12,
    phantom=True,
    metrics={"accuracy": 0.25, "clean_accuracy": 0.75},
    seconds={"craft": 1.5},
    config={"attack": {"eps": "8/255"}},
)


def to_upload(path: Path) -> dict[str, Path]:
    """Where the parts of a run's tables lie until `wandb sync` takes them."""
    return {
        entry.path: Path(entry.local_path)
        for record in finished(path)
        if record.WhichOneof("record_type") == "artifact"
        for entry in record.artifact.manifest.contents
    }


def items(found: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in found}


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place without login or network."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_DATA_DIR", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("WANDB_SILENT", "true")
    return tmp_path / "log"


def test_an_offline_run_holds_everything_that_was_logged(offline: Path) -> None:
    logger = WandbLogger(str(offline), group="table4", name="cell", tags=["mine", "x"])
    assert logger.mode == "offline"
    logger.log_metrics({"train/loss": 2.5}, step=3)
    logger.log_row(ROW)
    index = pd.Index(["none", "medrdf"], name="defense")
    logger.log_matrix("accuracy", pd.DataFrame({"pgd": [0.1, np.nan]}, index=index))
    logger.log_confusion([[1, 2], [3, 4]], ["dark", "bright"])
    logger.log_images("strip", [np.zeros((4, 6, 3), dtype=np.uint8)], ["nevus"])
    logger.finish()

    (file,) = offline.glob("wandb/offline-run-*/*.wandb")
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history: dict[str, Any] = {}
    for record in finished(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            assert (run.project, run.run_group, run.display_name) == ("medrobust", "table4", "cell")
            tags = set(run.tags)
        elif kind == "config":
            config |= items(record.config.update)
        elif kind == "summary":
            summary |= items(record.summary.update)
        elif kind == "history":
            history |= items(record.history.item)
        elif kind == "exit":
            assert record.exit.exit_code == 0
    assert tags == {"mine", "x", "data=dermamnist", "attack=mdda/pgd", "defense=none", "phantom"}
    assert config["attack"] == {"eps": "8/255"}
    assert config["cell"] == ROW.cell
    assert config["row"] == "abc"
    assert summary["mdda_pgd/accuracy"] == 0.25
    assert summary["clean/accuracy"] == 0.75
    assert summary["seconds/craft"] == 1.5
    assert history["mdda_pgd/accuracy"] == 0.25  # drawn without being asked for
    assert (summary["n"], summary["status"]) == (12, "done")
    assert history["train/loss"] == 2.5

    kept = to_upload(file)

    def table(name: str) -> Any:
        return json.loads(kept[f"{name}.table.json"].read_text())

    assert table("accuracy")["columns"] == ["defense", "pgd"]
    assert table("accuracy")["data"] == [["none", 0.1], ["medrdf", None]]
    assert table("confusion")["data"] == [["dark", 1, 2], ["bright", 3, 4]]
    strip = table("strip")
    assert strip["columns"] == [*ROW.cell, "caption", "picture"]
    (line,) = strip["data"]
    assert line[:-1] == [*ROW.cell.values(), "nevus"]
    assert (line[-1]["width"], line[-1]["height"]) == (6, 4)
    assert line[-1]["path"] in kept
    assert len(list(file.parent.glob("files/media/images/strip/pictures_*.png"))) == 1


def test_what_a_sync_will_upload_lies_below_the_folder(offline: Path) -> None:
    logger = WandbLogger(str(offline))
    logger.log_matrix("matrix", pd.DataFrame({"value": [0.5]}))
    logger.log_images("strip", [np.zeros((4, 6, 3), dtype=np.uint8)])
    logger.finish()
    (file,) = offline.glob("wandb/offline-run-*/*.wandb")
    kept = to_upload(file)
    assert len(kept) == 3, kept  # two tables and a picture
    assert all(part.is_file() and part.is_relative_to(offline) for part in kept.values())
    assert "WANDB_DATA_DIR" not in os.environ


def test_a_failed_cell_is_a_failed_run_that_says_why(offline: Path) -> None:
    weak = flag("weak_surrogate", share=0.1)
    row = replace(ROW, status="failed", metrics={}, error="Traceback …\nValueError: eps=2\n")
    row = replace(row, flags=[weak])
    log_cell(WandbLogger(str(offline)), row, {})
    (file,) = offline.glob("wandb/offline-run-*/*.wandb")
    found = finished(file)
    assert found[-1].exit.exit_code == 1
    summary: dict[str, Any] = {}
    for record in found:
        summary |= items(record.summary.update)
    assert (summary["status"], summary["error"]) == ("failed", "ValueError: eps=2")
    assert summary["flags"] == weak.text


def test_tags_are_the_words_of_the_command_line_and_what_to_beware_of() -> None:
    row = replace(
        ROW, flags=[flag("weak_surrogate", share=0.1)], status="failed", cell={"attack": "a" * 90}
    )
    assert tags_of(row) == [f"attack={'a' * 57}", "phantom", "flagged", "failed"]


def test_strips_of_a_row_that_was_there_before_come_from_its_sheet(tmp_path: Path) -> None:
    path = tmp_path / "row.png"
    assert kept_pictures(path) == {}
    pictures = {name: np.full((8, 32, 3), 40 * i, np.uint8) for i, name in enumerate("abc")}
    path.write_bytes(sheet(pictures))
    found = kept_pictures(path)
    assert list(found) == list(pictures)
    assert all(np.array_equal(found[name], pictures[name]) for name in pictures)


def test_every_logger_has_a_run_of_its_own(offline: Path) -> None:
    for number in range(2):
        logger = WandbLogger(str(offline / str(number)))
        logger.log_metrics({"number": number}, step=0)
        logger.finish()
        logger.finish()  # nothing to end, nothing breaks
    assert len(list(offline.glob("*/wandb/offline-run-*/*.wandb"))) == 2


@pytest.mark.parametrize(
    ("mode", "environment", "login", "expected"),
    [
        ("auto", {}, False, "offline"),
        ("auto", {}, True, "online"),
        ("auto", {"WANDB_MODE": "offline"}, True, "offline"),
        ("auto", {"WANDB_MODE": "dryrun"}, True, "offline"),
        ("auto", {"WANDB_MODE": "disabled"}, True, "disabled"),
        ("auto", {"WANDB_MODE": "online"}, True, "online"),
        ("offline", {"WANDB_MODE": "online"}, True, "offline"),
        ("online", {"WANDB_MODE": "offline"}, True, "online"),
    ],
)
def test_mode(mode: Any, environment: Mapping[str, str], login: bool, expected: str) -> None:
    assert resolve_mode(mode, environment, login=login) == expected


@pytest.mark.parametrize(("mode", "named"), [("online", ""), ("auto", "online")])
def test_online_without_login_is_an_error_and_never_a_prompt(mode: Any, named: str) -> None:
    with pytest.raises(ValueError, match=r"wandb login.*logger\.mode=offline"):
        resolve_mode(mode, {"WANDB_MODE": named}, login=False)


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logger\.mode='on'"):
        resolve_mode("on", {}, login=True)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="WANDB_MODE='never'"):
        resolve_mode("auto", {"WANDB_MODE": "never"}, login=True)


def test_a_login_is_a_key_in_the_environment_or_in_netrc(tmp_path: Path) -> None:
    file = tmp_path / "netrc"
    place = {"NETRC": str(file)}
    assert not logged_in(place)
    assert logged_in({**place, "WANDB_API_KEY": "x" * 40})
    file.write_text("machine api.wandb.ai login user password placeholder\n")
    assert logged_in(place)
    assert not logged_in({**place, "WANDB_BASE_URL": "https://wandb.example.org"})
    file.write_text("machine\n")
    assert not logged_in(place)
