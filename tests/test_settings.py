import copy
import importlib
import inspect
import pickle
import pkgutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

import medrobust
from medrobust.configured import Configured, outside, title, unsourced
from medrobust.target import by_name, differences


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
        "class": "Outer",
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


class Named(Configured):
    def __init__(self, args: int | None = 1, kwargs: int | None = None) -> None:
        self.args = args


def test_arguments_may_have_any_name() -> None:
    assert Named(args=0).settings == {"class": "Named", "args": 0, "kwargs": None}
    assert Named(args=None).fingerprint != Named(args=0).fingerprint


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
    made = Outer(0.1, table={"box": object()})
    with pytest.raises(TypeError, match=r"Outer\.table\.box is a object"):
        _ = made.fingerprint


def double(x: int) -> int:
    return 2 * x


def halve(x: int) -> int:
    return x // 2


def test_functions_and_classes_are_settings_with_code() -> None:
    made = Outer(0.1, table={"call": double, "kind": Inner, "some": [partial(halve, x=2)]})
    assert made.settings["table"] == {
        "call": "double",
        "kind": "Inner",
        "some": [{"function": "halve", "args": [], "x": 2}],
    }
    assert made.computed_by == (Outer, double, Inner, halve)
    assert not unsourced(made.computed_by)
    assert outside(made.computed_by).keys() == {title(one) for one in made.computed_by}
    assert made.fingerprint != Outer(0.1, table=dict(made.settings["table"])).fingerprint


def test_what_has_no_source_is_named() -> None:
    made = Outer(0.1, table=[print, lambda x: x], inner=Inner())
    here = "test_what_has_no_source_is_named.<locals>.<lambda>"
    assert unsourced(made.computed_by) == ["builtins.print", f"{__name__}.{here}"]


def test_unscientific_code_does_not_count() -> None:
    assert Outer(0.1, chunk=print).fingerprint == Outer(0.1).fingerprint  # type: ignore[arg-type]


def test_every_class_of_the_package_has_a_name_of_its_own() -> None:
    for module in pkgutil.walk_packages(medrobust.__path__, "medrobust."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds = [kind for kind in below(Configured) if kind.__module__.startswith("medrobust.")]
    made = [kind for kind in kinds if not inspect.isabstract(kind)]
    shared = [name for name, count in Counter(k.__qualname__ for k in made).items() if count > 1]
    assert len(made) > 90
    assert shared == []


def below(kind: type) -> set[type]:
    return {kind, *(one for child in kind.__subclasses__() for one in below(child))}


def test_names_outlive_a_move() -> None:
    old = {
        "class": "medrobust.attack.pgd.PGD",
        "revision": 2,
        "net": {"_target_": "medrobust.model.resnet.build", "name": "medrobust.model.x"},
        "own": [{"_target_": "mine.Darker"}, {"class": "mine.Darker"}],
    }
    assert by_name(old) == {
        "class": "PGD",
        "net": {"_target_": "resnet.build", "name": "medrobust.model.x"},
        "own": [{"_target_": "mine.Darker"}, {"class": "Darker"}],
    }
    assert differences(old, by_name(old)) == []


def test_an_object_with_a_fingerprint_stands_for_itself() -> None:
    class Victim:
        fingerprint = "abc"

    assert Outer(0.1, table=Victim()).settings["table"] == "abc"


def test_wrong_arguments_fail_as_usual() -> None:
    with pytest.raises(TypeError, match="size_typo"):
        Inner(size_typo=3)  # type: ignore[call-arg]


class Own(Inner):
    """Sets an argument twice, reads its base's, and has an attribute of its own."""

    def __init__(self, size: int = 3, *, deep: bool = False, inner: Inner | None = None) -> None:
        super().__init__(size)
        self.size = size + 1
        self.deep, self.inner, self.seen = deep, inner, 0


@pytest.mark.parametrize(
    "again", [lambda x: x, copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_an_argument_is_final(again: Callable[[Own], Own]) -> None:
    made = again(Own(5, inner=Inner()))
    made.seen = 2
    for name, value in (("size", 7), ("deep", True), ("inner", None)):
        message = rf"Own\.{name} is set by the constructor .* make a new object with {name}=…"
        with pytest.raises(AttributeError, match=message):
            setattr(made, name, value)
    assert (made.size, made.seen) == (6, 2)


def test_an_unscientific_argument_may_change() -> None:
    made = Outer(0.1)
    made.chunk = 3  # type: ignore[attr-defined]
    assert made.fingerprint == Outer(0.1).fingerprint


def test_the_signature_is_that_of_the_constructor() -> None:
    assert str(inspect.signature(Inner)) == "(size: int = 3) -> None"


@pytest.mark.parametrize("size", [np.int64(5), np.uint8(5)])
def test_numbers_of_numpy_are_plain_numbers(size: Any) -> None:
    assert Inner(size).fingerprint == Inner(5).fingerprint
    assert Outer(np.float32(0.5)).fingerprint == Outer(0.5).fingerprint
