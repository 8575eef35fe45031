import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust.code.package import package_digest
from medrobust.result.flag import flag
from medrobust.result.row import Row, RowError
from medrobust.result.stale import stale

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=40, deadline=None)
@given(
    metrics=st.dictionaries(st.text(), NUMBERS),
    text=st.text(),
    n=st.integers(0, 10**6),
    variant=st.dictionaries(st.text(), st.none() | st.booleans() | NUMBERS | st.text()),
)
def test_json_and_back(metrics: dict, text: str, n: int, variant: dict[str, Any]) -> None:
    row = Row("a", "done", {"data": text}, variant, metrics=metrics, n=n, error=text)
    again = Row.from_json(row.to_json(), "file")
    assert again == row
    assert again.to_json() == row.to_json()


def test_nan_is_never_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        Row("a", "done", {}, metrics={"accuracy": float("nan")}).to_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: "{", "f.json is not JSON .*; delete it"),
        (lambda data: "[" * 100_000, "f.json is not JSON .*; delete it"),
        (lambda data: "1" * 5000, "f.json is not JSON .*; delete it"),
        (lambda data: "[]", "f.json is not a row of format 7"),
        (lambda data: json.dumps(data | {"format": [4]}), "not a row of format 7"),
        (lambda data: json.dumps(data | {"format": 0}), "not a row of format 7"),
        (lambda data: json.dumps(data | {"extra": 0}), r"unknown fields \['extra'\]"),
        (lambda data: json.dumps({k: data[k] for k in data if k != "checksum"}), "checksum"),
        (lambda data: json.dumps(data | {"n": 7}), "f.json is damaged: its checksum does not"),
        (lambda data: json.dumps(data | {"format": 2}), "unknown fields"),
        (lambda data: json.dumps({"format": 7}), r"missing or unknown fields \['attack_variant'"),
    ],
)
def test_damage_is_named(change: Any, message: str) -> None:
    data = json.loads(Row("a", "done", {}).to_json())
    with pytest.raises(RowError, match=message):
        Row.from_json(change(data), "f.json")


@pytest.mark.parametrize("older", [1, 2, 3, 5, 6])
def test_a_row_of_an_older_format_is_still_read_and_known_to_be_old(older: int) -> None:
    data = json.loads(Row("a", "done", {}, n=3, confusion=[[3]]).to_json()) | {"format": older}
    del data["checksum"], data["groups"]
    if older < 6:
        del data["files"]
    if older < 5:
        del data["code"]
    if older == 1:
        del data["clean_confusion"]
    if older >= 3:
        text = json.dumps(data, sort_keys=True)
        data["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    row = Row.from_json(json.dumps(data), "f.json")
    told = [flag("unchecked", format=older)] if older < 3 else []
    assert row == Row(
        *("a", "done", {}),
        n=3,
        confusion=[[3]],
        clean_confusion=None,
        code={"package": "not recorded"} if older < 5 else {},
        flags=told,
    )
    assert stale(row, package_digest()) == (older < 5)
    if older >= 3:
        with pytest.raises(RowError, match="checksum does not match"):
            Row.from_json(json.dumps(data | {"n": 4}), "f.json")


def test_a_row_is_stale_when_other_code_computed_it() -> None:
    now = package_digest()
    assert not stale(Row("a", "done", {}, code={"package": now}), now)
    assert stale(Row("a", "done", {}, code={"package": "0" * 64}), now)
    assert not stale(Row("a", "failed", {}), now)  # no number of it is shown


def test_any_changed_character_is_noticed() -> None:
    row = Row("a", "done", {"data": "b"}, {"eps": 0.03, 8: [1, 2.0]}, metrics={"accuracy": 0.25})
    text = row.to_json()
    assert Row.from_json(text, "f.json").attack_variant == {"eps": 0.03, "8": [1, 2.0]}
    for place, old in enumerate(text):
        new = chr(ord(old) ^ 1)
        try:
            again = Row.from_json(text[:place] + new + text[place + 1 :], "f.json")
        except RowError:
            continue
        assert again.to_json() == text  # white space
