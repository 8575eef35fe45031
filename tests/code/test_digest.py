"""Digests of classes and functions: what belongs to one, and what has none."""

import importlib
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

from medrobust.attack.pgd import PGD
from medrobust.attack.pgd_l2 import PGDL2
from medrobust.code import module as modules
from medrobust.code.digest import code_digest, foreign
from medrobust.model.resnet import build

Write = Callable[..., ModuleType]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a local module and load it, again if it was there before."""
    monkeypatch.syspath_prepend(tmp_path)
    made: set[str] = set()

    def make(name: str, text: str) -> ModuleType:
        path = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        importlib.invalidate_caches()
        name = name.removesuffix(".__init__")
        made.update((name, name.partition(".")[0]))
        # Not importlib.reload: the class of a new process, whose file was edited before.
        for loaded in made:
            sys.modules.pop(loaded, None)
        return importlib.import_module(name)

    yield make
    for name in made:
        sys.modules.pop(name, None)


DARKER = """
from medrobust.defense.core.base import Purifier
from own_base import Scaled

class Darker(Scaled, Purifier):
    def purify(self, x, *, seeds):
        return x * self.scale
"""
BASE = "from own_number import SCALE\n\nclass Scaled:\n    scale = SCALE\n"


def darker(write: Write, own: str = DARKER, base: str = BASE, number: str = "SCALE = 0.9\n") -> str:
    write("own_number", number)
    write("own_base", base)
    found = code_digest(write("own_purifier", own).Darker)
    assert found is not None
    return found


def test_a_class_of_a_user_is_its_module_its_bases_and_all_local_imports(write: Write) -> None:
    first = darker(write)
    assert darker(write) == first
    assert darker(write, own=DARKER.replace("x * ", "x / ")) != first
    assert darker(write, base=BASE + "    other = 1\n") != first
    assert darker(write, number="SCALE = 0.1\n") != first
    assert darker(write) == first


def test_comments_docstrings_and_the_order_of_imports_do_not_count(write: Write) -> None:
    first = darker(write)
    lines = DARKER.strip().splitlines()
    turned = "\n".join(['"""Mine."""', lines[1], "# why", lines[0], *lines[2:]])
    assert darker(write, own=turned, number='"""N."""\nSCALE = 0.9  # how much\n') == first


def test_a_class_of_a_user_may_move(write: Write) -> None:
    first = darker(write)
    write("elsewhere_number", "SCALE = 0.9\n")
    write("deep.elsewhere_base", BASE.replace("own_number", "elsewhere_number"))
    moved = write("deep.mine", DARKER.replace("own_base", "deep.elsewhere_base"))
    assert code_digest(moved.Darker) == first


def test_which_module_a_name_comes_from_counts(write: Write) -> None:
    write("one", "def f(x):\n    return x\n")
    write("other", "def f(x):\n    return -x\n")
    text = "from one import f\nimport other\ndef call(model, x, y):\n    return f(x)\n"
    swapped = text.replace("from one", "from other").replace("import other\n", "import one\n")
    assert code_digest(write("mine", text).call) != code_digest(write("mine", swapped).call)


def test_relative_and_lazy_imports_are_followed(write: Write) -> None:
    write("pack.__init__", "")
    text = "def call(model, x, y):\n    from .near import f\n    return f(x)\n"
    write("pack.near", "def f(x):\n    return x\n")
    first = code_digest(write("pack.mine", text).call)
    write("pack.near", "def f(x):\n    return -x\n")
    assert code_digest(write("pack.mine", text).call) != first


def test_a_file_that_is_edited_while_it_runs_counts_when_it_is_loaded_again(
    write: Write, tmp_path: Path
) -> None:
    made = write("running", "def call(model, x, y):\n    return x\n")
    first = code_digest(made.call)
    (tmp_path / "running.py").write_text("def call(model, x, y):\n    return -x\n")
    assert code_digest(made.call) == first  # what runs is the old one
    assert code_digest(importlib.reload(made).call) != first


def test_two_things_of_one_module_are_two(write: Write) -> None:
    made = write("both", "def f():\n    pass\ndef g():\n    pass\nclass A: pass\nclass B: pass\n")
    assert len({code_digest(one) for one in (made.f, made.g, made.A, made.B)}) == 4


def test_what_has_no_source_has_no_digest(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write(
        "odd",
        "f = lambda x: x\n"
        "def outer(k):\n    def inner(x):\n        return x * k\n    return inner\n"
        "def plain(x):\n    return x\n"
        "def kind(k):\n    class Local:\n        def f(self): return k\n    return Local\n"
        "Dynamic = type('Dynamic', (), {})\n",
    )
    for one in (made.f, made.outer(2), print, partial(made.plain, 1), made.kind(1), made.Dynamic):
        assert code_digest(one) is None
    assert code_digest(made.plain) is not None

    notebook = ModuleType("__main__")  # it has no file
    exec("class InANotebook: pass\ndef f(): pass", notebook.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    assert code_digest(notebook.InANotebook) is None
    assert code_digest(notebook.f) is None


def test_classes_of_this_package_are_their_modules_and_those_of_their_bases(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def edited(name: str, old: str = "\nclass ", new: str = "\nEDIT = 1\nclass ") -> None:
        modules.note(name)
        spec, source = modules._noted[name]
        assert source is not None
        assert old in source.text
        changed = source._replace(text=source.text.replace(old, new, 1))
        monkeypatch.setitem(modules._noted, name, (spec, changed))

    first, other = code_digest(PGD), code_digest(PGDL2)
    with monkeypatch.context():
        edited("medrobust.attack.pgd")
        assert code_digest(PGD) != first
    monkeypatch.undo()
    edited("medrobust.attack.pgd", '"""', '"""Edited. ')
    assert code_digest(PGD) == first  # a docstring
    edited("medrobust.attack.core.ball")  # it imports that, and does not inherit from it
    edited("medrobust.configured")
    assert code_digest(PGD) == first
    edited("medrobust.attack.core.base")
    assert code_digest(PGD) != first
    assert code_digest(PGDL2) != other


def test_functions_of_this_package_have_one() -> None:
    assert code_digest(build) is not None


def test_whose_code_it_is() -> None:
    assert not foreign(PGD)
    assert foreign(test_whose_code_it_is)
    assert foreign(nn.Linear)
    assert modules.owner("torch.nn") == modules.owner("json") == modules.owner("sys") == "library"
    assert modules.owner(__name__) == "local"
    assert modules.owner("nothing.of.this.name") == "library"


def call_of(write: Write, text: str, **others: str) -> str | None:
    for name, other in others.items():
        write(name, other)
    return code_digest(write("mine", text).call)


CALL = "\ndef call(model, x, y):\n    return x * K\n"


@pytest.mark.parametrize(
    "text",
    [
        "import one\nimport two\nK = one.K" + CALL,
        "from one import K as A\nfrom two import K as B\nK = A" + CALL,
        "from one import K\nfrom two import K" + CALL,
        "from one import *\nfrom two import *" + CALL,
    ],
)
def test_which_module_has_which_text_counts(write: Write, text: str) -> None:
    first = call_of(write, text, one="K = 1.0\n", two="K = 0.0\n")
    assert call_of(write, text, one="K = 0.0\n", two="K = 1.0\n") != first
    assert call_of(write, text, one="K = 1.0\n", two="K = 0.0\n") == first


@pytest.mark.parametrize("star", ["K", "*"])
def test_the_order_of_imports_that_override_each_other_counts(write: Write, star: str) -> None:
    lines = [f"from one import {star}", f"from two import {star}"]
    texts = {"one": "K = 1.0\n", "two": "K = 0.0\n"}
    first = call_of(write, "\n".join(lines) + CALL, **texts)
    assert call_of(write, "\n".join(lines[::-1]) + CALL, **texts) != first


def test_twins_are_told_apart_by_what_they_import(write: Write) -> None:
    text = "from p.h import f as a\nfrom q.h import f as b\n\ndef call(m, x, y):\n    return a(x)\n"
    for name, k in (("p", 1), ("q", 2)):
        write(f"{name}.k", f"K = {k}\n")
        write(f"{name}.h", "from .k import K\n\ndef f(x):\n    return K * x\n")
    first = call_of(write, text)
    for name, k in (("p", 2), ("q", 1)):
        write(f"{name}.k", f"K = {k}\n")
    assert call_of(write, text) != first


@pytest.mark.parametrize(
    "text", ["import pk.near\nK = pk.K" + CALL, "from pk.near import K" + CALL]
)
def test_packages_on_the_way_to_a_module_count(write: Write, text: str) -> None:
    write("pk.__init__", "K = 1\n")
    write("pk.near", "K = 3\n")
    first = call_of(write, text)
    write("pk.__init__", "from pk import near\nnear.K = 0\nK = 0\n")
    assert call_of(write, text) != first


def test_which_module_of_this_package_it_takes_counts(write: Write) -> None:
    text = "from medrobust.model.resnet import build\n\ndef call(m, x, y):\n    return build\n"
    assert call_of(write, text) != call_of(write, text.replace("resnet", "vgg"))


def test_what_is_made_at_run_time_has_no_digest(write: Write) -> None:
    made = write(
        "factory",
        "def make(k):\n    class F:\n        scale = k\n    return F\n"
        "Light, Dark = make(1), make(0)\n"
        "class P:\n    pass\n"
        "Other = type('P', (P,), {'scale': 0})\n"
        "def outer(k):\n    def call(x, k=k):\n        return k\n    return call\n"
        "for k in (1, 2):\n    class L:\n        scale = k\n",
    )
    for one in (made.Light, made.Dark, made.Other, made.outer(1), made.L):
        assert code_digest(one) is None
    assert code_digest(made.P) is not None


def test_a_method_that_another_module_put_there_counts(write: Write) -> None:
    write("plain", "class D:\n    def f(self):\n        return 1\n")
    patch = "from plain import D\n\ndef f(self):\n    return 2\n\nD.f = f\n"
    first = code_digest(write("patched", patch).D)
    kept = code_digest(write("patched", patch.replace("return 2", "return 3")).D)
    assert None not in (first, kept)
    assert first != kept


def test_a_decorated_function_counts_with_what_decorates_it(write: Write) -> None:
    deco = (
        "import functools\n\ndef twice(f):\n    @functools.wraps(f)\n    def call(*a):\n"
        "        return 2 * f(*a)\n    return call\n"
    )
    text = "from deco import twice\n\n@twice\ndef call(m, x, y):\n    return x\n"
    first = call_of(write, text, deco=deco)
    assert first is not None
    assert call_of(write, text, deco=deco.replace("2 *", "3 *")) != first


def test_an_import_without_source_leaves_no_digest(write: Write, tmp_path: Path) -> None:
    import py_compile

    (tmp_path / "blind.py").write_text("K = 1\n")
    py_compile.compile(str(tmp_path / "blind.py"), cfile=str(tmp_path / "blind.pyc"))
    (tmp_path / "blind.py").unlink()
    assert call_of(write, "from blind import K" + CALL) is None
    assert call_of(write, "K = 1" + CALL) is not None
