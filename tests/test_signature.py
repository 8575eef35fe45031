"""Options that a class hands on are typed, have their base's defaults, and enter the settings."""

from typing import TypedDict, Unpack

import pytest

from medrobust.attack.bim import BIM
from medrobust.attack.mim import MIM
from medrobust.configured import Configured
from medrobust.signature import parameters_of


class Options(TypedDict, total=False):
    wide: int


class Base(Configured):
    def __init__(self, size: int, *, wide: int = 2, tall: int = 3) -> None:
        self.size, self.wide, self.tall = size, wide, tall


class Derived(Base):
    def __init__(self, size: int, **options: Unpack[Options]) -> None:
        super().__init__(size, tall=9, **options)


def test_options_are_the_keys_that_the_type_names_with_the_bases_defaults() -> None:
    found = parameters_of(Derived)
    assert set(found.names) == {"size", "wide"}  # `tall` is fixed, so it is no key
    assert found.names["wide"].default == 2
    assert found.kinds["wide"] is int
    assert (found.handed, found.open) == (frozenset({"wide"}), False)


def test_a_default_that_is_written_out_changes_no_fingerprint() -> None:
    assert Derived(1).settings == {"class": "Derived", "size": 1, "wide": 2}
    assert (
        Derived(1).fingerprint == Derived(1, wide=2).fingerprint != Derived(1, wide=3).fingerprint
    )
    plain, written = MIM("8/255", steps=3), MIM("8/255", steps=3, decay=1.0, early_stop=False)
    assert plain.settings == written.settings


@pytest.mark.parametrize("kind", [BIM, MIM])
def test_another_keyword_is_refused_as_of_any_constructor(kind: type[BIM]) -> None:
    with pytest.raises(TypeError, match=f"{kind.__name__} got an unexpected keyword.*'restarts'"):
        kind("8/255", steps=3, restarts=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'stpes'"):
        kind("8/255", steps=3, stpes=2)  # type: ignore[call-arg]


def test_annotations_of_unknown_names_check_no_type() -> None:
    def call(size: "Absent", *, wide: int = 2) -> None:  # type: ignore[name-defined]  # noqa: F821
        """Annotated with a name that no module has."""

    found = parameters_of(call)
    assert set(found.names) == {"size", "wide"}
    assert found.kinds == {}
