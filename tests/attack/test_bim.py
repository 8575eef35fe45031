import pytest

from medrobust.attack.bim import BIM


@pytest.mark.parametrize(
    ("steps", "given", "expected"),
    [(1, None, 0.1), (10, None, 0.01), (10, "2/255", 2 / 255), (10, 0.05, 0.05)],
)
def test_step_size(steps: int, given: float | str | None, expected: float) -> None:
    assert BIM(0.1, steps=steps, step_size=given).step_size == pytest.approx(expected)


def test_takes_no_restarts() -> None:
    with pytest.raises(TypeError, match="restarts"):
        BIM(0.1, steps=2, restarts=2)  # type: ignore[call-arg]
