import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from omegaconf import OmegaConf

from medrobust.settings import Configured


class Inner(Configured):
    def __init__(self, size: int = 3) -> None:
        self.size = size


class Outer(Configured):
    unscientific = ("chunk",)

    def __init__(
        self,
        eps: float | str,
        *,
        inner: Inner | None = None,
        table: Any = None,
        chunk: int = 64,
    ) -> None:
        self.eps = 2 * float(eps)  # what is captured is the argument, not what becomes of it


class Child(Outer):
    pass


class Extra(Configured):
    def __init__(self, first: int, **kwargs: int) -> None:
        self.first = first


class Bare(Configured):
    pass


def test_arguments_with_defaults() -> None:
    assert Outer(0.1).settings == {
        "class": f"{__name__}.Outer",
        "eps": 0.1,
        "inner": None,
        "table": None,
    }


def test_how_an_argument_is_passed_does_not_matter() -> None:
    assert Outer(0.1).fingerprint == Outer(eps=0.1, inner=None).fingerprint
    assert Extra(1, b=2, a=3).fingerprint == Extra(a=3, first=1, b=2).fingerprint


@pytest.mark.parametrize(
    "other",
    [
        Outer(0.2),
        Child(0.1),
        Outer(0.1, inner=Inner()),
        Outer(0.1, inner=Inner(4)),
        Outer(0.1, table={"a": [1, 2]}),
        Outer(0.1, table={"a": [2, 1]}),
    ],
)
def test_every_argument_and_the_class_count(other: Outer) -> None:
    assert other.fingerprint != Outer(0.1).fingerprint
    assert len(other.fingerprint) == 64


def test_defaults_of_nested_objects_are_spelled_out() -> None:
    assert Outer(0.1, inner=Inner()).fingerprint == Outer(0.1, inner=Inner(3)).fingerprint


def test_unscientific_arguments_do_not_count() -> None:
    assert Outer(0.1, chunk=1).fingerprint == Outer(0.1).fingerprint
    assert "chunk" not in Outer(0.1, chunk=1).settings


def test_extra_keywords_count() -> None:
    assert Extra(1, a=2).settings["a"] == 2
    assert Extra(1, a=2).fingerprint != Extra(1).fingerprint


def test_hydra_containers_are_plain_data() -> None:
    table = {"a": [1, 2], "b": {"c": None}}
    given = Outer(0.1, table=OmegaConf.create(table))
    assert given.settings["table"] == table
    assert given.fingerprint == Outer(0.1, table=table).fingerprint


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_keep_their_settings(again: Callable[[Outer], Outer]) -> None:
    first = Outer(0.1, inner=Inner(5))
    assert again(first).fingerprint == first.fingerprint


def test_no_constructor_at_all() -> None:
    assert Bare().fingerprint == Bare().fingerprint != Inner().fingerprint


def test_what_cannot_be_fingerprinted_is_refused() -> None:
    made = Outer(0.1, table={"call": print})
    with pytest.raises(TypeError, match=r"Outer\.table\.call is a builtin_function"):
        _ = made.fingerprint


def test_an_object_with_a_fingerprint_stands_for_itself() -> None:
    class Victim:
        fingerprint = "abc"

    assert Outer(0.1, table=Victim()).settings["table"] == "abc"


def test_wrong_arguments_fail_as_usual() -> None:
    with pytest.raises(TypeError, match="size_typo"):
        Inner(size_typo=3)  # type: ignore[call-arg]


def test_a_later_revision_of_a_class_is_another_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    before, around = Inner().fingerprint, Outer(0.1, inner=Inner()).fingerprint
    monkeypatch.setattr(Inner, "revision", 2)
    assert Inner().settings == {"class": f"{__name__}.Inner", "revision": 2, "size": 3}
    assert Inner().fingerprint != before
    assert Outer(0.1, inner=Inner()).fingerprint != around
    monkeypatch.setattr(Inner, "revision", 1)
    assert Inner().fingerprint == before  # what is stored already keeps its name
