import json
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from wandb.proto.wandb_internal_pb2 import Record

from medrobust.logger.wandb import WandbLogger, logged_in, resolve_mode
from medrobust.result.row import Row

ROW = Row(
    id="abc",
    status="done",
    cell={},
    n=12,
    metrics={"pgd/accuracy": 0.25},
    seconds={"craft": 1.5},
    config={"attack": {"eps": "8/255"}},
)


def records(path: Path) -> Iterator[Record]:
    """Records of an offline run: a LevelDB log (32 KiB blocks, headers of crc, length, type)."""
    data, offset, parts = path.read_bytes(), 7, b""
    while offset + 7 <= len(data):
        if 32768 - offset % 32768 < 7:  # too short for a header: padding
            offset += 32768 - offset % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        if offset + 7 + length > len(data):
            return  # still being written
        parts += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def finished(path: Path) -> list[Record]:
    """All records; wandb's writer is a process of its own, and may end after `finish` has."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = list(records(path))
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.05)
    raise AssertionError(f"{path} has no end")


def items(found: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in found}


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place without login or network."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("WANDB_SILENT", "true")
    return tmp_path / "log"


def test_an_offline_run_holds_everything_that_was_logged(offline: Path) -> None:
    logger = WandbLogger(str(offline), group="table4", name="cell", tags=["pgd", "dermamnist"])
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
            assert set(run.tags) == {"pgd", "dermamnist"}
        elif kind == "config":
            config |= items(record.config.update)
        elif kind == "summary":
            summary |= items(record.summary.update)
        elif kind == "history":
            history |= items(record.history.item)
    assert config["attack"] == {"eps": "8/255"}
    assert config["row"] == "abc"
    assert summary["pgd/accuracy"] == 0.25
    assert summary["seconds/craft"] == 1.5
    assert (summary["n"], summary["status"]) == (12, "done")
    assert history["train/loss"] == 2.5

    def table(name: str) -> Any:
        (path,) = file.parent.glob(f"files/media/table/{name}_*.table.json")
        return json.loads(path.read_text())

    assert table("accuracy")["columns"] == ["defense", "pgd"]
    assert table("accuracy")["data"] == [["none", 0.1], ["medrdf", None]]
    assert table("confusion")["data"] == [["dark", 1, 2], ["bright", 3, 4]]
    assert len(list(file.parent.glob("files/media/images/strip_*.png"))) == 1
    assert history["strip/captions"] == ["nevus"]


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
