"""The flag anywhere in a command line, with a precision or without."""

import pytest

from medrobust.planning.flag import taken

REST = ["-m", "attack=pgd,bim", "eps=3"]


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize(
    ("flag", "points"),
    [(["--plan"], None), (["--plan", "3"], 3.0), (["--plan=3"], 3.0), (["--plan", "2.5"], 2.5)],
)
def test_the_flag_is_taken_out(place: int, flag: list[str], points: float | None) -> None:
    words = [*REST[:place], *flag, *REST[place:]]
    assert taken(words) == (REST, points)


def test_without_it_nothing_is_planned() -> None:
    assert taken(REST) is None
    assert taken(["+plan=3", "x=--plan"]) is None


@pytest.mark.parametrize("value", ["0", "50", "-3", "many", "", "nan"])
def test_other_values_are_refused(value: str) -> None:
    with pytest.raises(ValueError, match=f"--plan={value}, expected the half-width"):
        taken([*REST, f"--plan={value}"])
