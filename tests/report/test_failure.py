import traceback

import pytest

from medrobust.report.failure import reason


def trace(error: Exception) -> str:
    try:
        raise error
    except type(error):
        return traceback.format_exc()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("boom"), "ValueError: boom"),
        (RuntimeError("no victim; train it:\n  medrobust train"), None),
        (KeyError("x"), "KeyError: 'x'"),
        (AssertionError(), "AssertionError"),
    ],
)
def test_reason_is_the_exception(error: Exception, expected: str | None) -> None:
    expected = expected or "RuntimeError: no victim; train it: medrobust train"
    assert reason(trace(error)) == expected


def test_without_an_exception() -> None:
    assert reason("killed\nby signal 9\n") == "by signal 9"
    assert reason(None) == "no traceback"
