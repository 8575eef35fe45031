import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrobust.number import NumberError, fraction, whole


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("8/255", 8 / 255),
        (" 8 / 255 ", 8 / 255),
        ("0.1", 0.1),
        ("5e-5", 5e-5),
        (0.1, 0.1),
        (1, 1.0),
        (0, 0.0),
        ("1/1", 1.0),
        ("0.5/2", 0.25),
    ],
)
def test_fraction(value: float | str, expected: float) -> None:
    assert fraction(value, "attack.eps") == expected


@given(st.integers(0, 255))
def test_fraction_of_grey_levels_is_exact(level: int) -> None:
    assert fraction(f"{level}/255", "eps") == level / 255


@pytest.mark.parametrize(
    "value", ["", "eight", "8/", "/255", "8/255/2", "1/0", "0x10", True, False]
)
def test_no_number(value: str | bool) -> None:
    with pytest.raises(NumberError, match=r"attack\.eps=.* is not a number; .*8/255"):
        fraction(value, "attack.eps")


@pytest.mark.parametrize("value", [-0.01, 1.01, "300/255", "nan", "inf", "-inf", float("nan")])
def test_out_of_range(value: float | str) -> None:
    with pytest.raises(NumberError, match=r"attack\.eps=.* is out of range; .*in \[0, 1\]"):
        fraction(value, "attack.eps")


def test_ends_of_the_range() -> None:
    assert fraction(0, "eps") == 0
    assert fraction(1, "eps") == 1
    with pytest.raises(NumberError, match=r"in \(0, 1\]"):
        fraction(0, "eps", above=True)
    assert fraction(3, "eps", low=2, high=3, above=True) == 3
    with pytest.raises(NumberError):
        fraction(2, "eps", low=2, high=3, above=True)


def test_error_is_a_value_error() -> None:
    assert issubclass(NumberError, ValueError)


@pytest.mark.parametrize("value", [3, 5, 7, np.int64(5)])
def test_whole(value: int) -> None:
    assert whole(value, "steps", low=3, high=7) == value


@pytest.mark.parametrize("value", [2.0, "3", True, None])
def test_whole_wants_an_integer(value: int) -> None:
    with pytest.raises(
        NumberError, match=r"steps=.* is not an integer; expected one whole number, at least 1"
    ):
        whole(value, "steps", low=1)


@pytest.mark.parametrize("value", [0, 8, -1])
def test_whole_out_of_range(value: int) -> None:
    with pytest.raises(NumberError, match="out of range; expected at least 1 and at most 7"):
        whole(value, "steps", low=1, high=7)
