import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medrobust.result.row import Row, RowError

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
        (lambda data: "[]", "f.json is not a row of format 3"),
        (lambda data: json.dumps(data | {"format": 0}), "not a row of format 3"),
        (lambda data: json.dumps(data | {"extra": 0}), r"unknown fields \['extra'\]"),
        (lambda data: json.dumps({k: data[k] for k in data if k != "checksum"}), "checksum"),
        (lambda data: json.dumps(data | {"n": 7}), "f.json is damaged: its checksum does not"),
        (lambda data: json.dumps(data | {"format": 2}), "unknown fields"),
        (lambda data: json.dumps({"format": 3}), r"missing or unknown fields \['attack_variant'"),
    ],
)
def test_damage_is_named(change: Any, message: str) -> None:
    data = json.loads(Row("a", "done", {}).to_json())
    with pytest.raises(RowError, match=message):
        Row.from_json(change(data), "f.json")


@pytest.mark.parametrize("older", [1, 2])
def test_a_row_of_an_older_format_is_still_read(older: int) -> None:
    data = json.loads(Row("a", "done", {}, n=3, confusion=[[3]]).to_json())
    del data["checksum"]
    if older == 1:
        del data["clean_confusion"]
    row = Row.from_json(json.dumps(data | {"format": older}), "f.json")
    assert row == Row("a", "done", {}, n=3, confusion=[[3]], clean_confusion=None)


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
