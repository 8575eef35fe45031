from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pytest

from medrobust.schema import SchemaError, check_type


def _even(value: int) -> None:
    if value % 2:
        raise ValueError(f"{value} is odd")


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3, int), (3, float), (0.5, float), (True, bool), ("é ü 肺", str), (None, str | None),
        ([0.5, 1], Sequence[float] | None), (["a"], list[str]), ({"a": 1.0}, dict[str, float]),
        ({"a": [1, None, {"b": "c"}]}, Mapping[str, Any]), (4, Annotated[int, _even]),
    ],
)  # fmt: skip
def test_values_of_the_type_pass(value: Any, kind: Any) -> None:
    check_type(value, kind, "it")


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (True, int, "it is True, expected int"),
        (True, float, "expected float"),
        (1, bool, "expected bool"),
        ("3", int, "it is '3', expected int"),
        (10**400, float, "expected float"),
        (float("nan"), float, "it is nan"),
        (float("inf"), Any, "plain data"),
        ("a\x1b[2Jb", str, r"it is 'a\\x1b\[2Jb'"),
        ("a\nb", Any, "plain data"),
        ((1, 2), list[int], "expected list"),
        (["a", 1], list[str], r"it\[1\] is 1"),
        ({1: "a"}, dict[str, str], "a key of it is 1"),
        ({"a": {"b": object()}}, dict[str, Any], r"it\.a\.b is <object"),
        (3, str | None, r"expected str \| null"),
        (3, Annotated[int, _even], "it: 3 is odd"),
        ("x" * 1000, int, "x…, expected int"),
    ],
)
def test_other_values_are_named(value: Any, kind: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message) as caught:
        check_type(value, kind, "it")
    assert len(str(caught.value)) < 200
