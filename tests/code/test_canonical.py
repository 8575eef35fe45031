"""The canonical form of source: what changes it, and what does not."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from medrobust.code import canonical as module
from medrobust.code.canonical import Import, canonical


def form(text: str) -> str:
    return canonical(text, "pack.inner", lambda path: path).digest


BASE = '''
"""Module."""

import os
import sys
from math import cos, sin as sinus

LIMIT = 1.5  # a limit


class Darker(Base):
    """Darkens."""

    scale: float = 0.9

    def purify(self, x, *, seeds=None):
        """Scale."""
        text = f"{x!r:>{self.scale}} and {x}" "more"
        if x:
            pass
        return x * self.scale
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # a limit", ""),
        ('"""Module."""\n', ""),
        ('    """Darkens."""\n', '    # nothing\n    """Something else."""\n'),
        ('        """Scale."""\n', ""),
        ("import os\nimport sys\n", "import sys\nimport os\n"),
        ("import os\nimport sys\n", "import os, sys\n"),
        ("cos, sin as sinus", "sin as sinus, cos"),
        ("x * self.scale", "(\n            x\n            * self.scale\n        )"),
        ("1.5", "15e-1"),
        ('" "more"', 'more"'),
        ("seeds=None):", "seeds = None,\n    ):"),
        ("            pass\n", '            "why"\n            pass\n            ...\n'),
        ("class Darker(Base):", "class Darker(\n    Base,\n):"),
    ],
)
def test_what_computes_nothing_does_not_count(old: str, new: str) -> None:
    assert old in BASE
    assert form(BASE.replace(old, new)) == form(BASE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.9", "0.1"),
        ("0.9", "'0.9'"),
        ("1.5", "2.5"),
        ("x * self.scale", "x / self.scale"),
        ("x * self.scale", "self.scale * x"),
        ("return x", "x"),
        ("seeds=None", "seeds=0"),
        ("*, seeds", "seeds"),
        ("!r", "!s"),
        (">{", "<{"),
        ("and {x}", "and x"),
        ("more", "less"),
        ("cos, sin as sinus", "cos, tan as sinus"),
        ("from math", "from cmath"),
        ("import os\n", ""),
        ("Base)", "Other)"),
        ("        if x:\n            pass\n", ""),
        ("if x", "while x"),
        ("LIMIT", "LIMITS"),
        ("def purify", "async def purify"),
        ("    def purify", "    @property\n    def purify"),
    ],
)
def test_what_computes_counts(old: str, new: str) -> None:
    assert old in BASE
    assert form(BASE.replace(old, new)) != form(BASE)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("f(1, True, 1.0, 1j, '1', b'1', None, ...)", "f(1, 1, 1.0, 1j, '1', b'1', None, ...)"),
        ("return_ = f''", "return_ = None"),
        ("x = -0.0", "x = 0.0"),
        ("x = ['a', 'b']", "x = ['a\\0b']"),
        ("x = [1, [2]]", "x = [[1], 2]"),
        ("if a:\n    b\nc", "if a:\n    b\n    c"),
        ("try:\n    a\nfinally:\n    b", "try:\n    a\nexcept E:\n    b"),
        ("{**a, 'b': c}", "{'b': c, **a}"),
        ("from . import a", "from .. import a"),
        ("{**a}", "{None: a}"),
        ("def f(*, a): pass", "def f(*, a=None): pass"),
        ("import a.b", "import a.b as a"),
    ],
)
def test_forms_are_not_mixed_up(one: str, other: str) -> None:
    assert form(one) != form(other)


def test_the_order_of_imports_counts_where_something_lies_between() -> None:
    assert form("import a\nf()\nimport b") != form("import b\nf()\nimport a")
    assert form("import a\n'why'\nimport b") == form("import b\nimport a")


def test_imports_are_listed_by_absolute_path() -> None:
    text = "import a.b as c\nimport e.f\nfrom . import d\ndef f():\n    from ..x import y as z\n"
    assert canonical(text, "pack.inner", str).imports == {
        Import("a.b", "", "c"),
        Import("e.f", ".", "e"),
        Import("pack.inner", "d", "d"),
        Import("pack.x", "y", "z"),
    }


def test_a_path_that_is_not_shown_does_not_count() -> None:
    def hidden(text: str) -> str:
        return canonical(text, "", lambda path: "").digest

    assert hidden("from a.b import c") == hidden("from z import c") != hidden("from z import d")


EVERY_SYNTAX = """
import a.b, c as d
from ..e import (f, g as h)
@deco(1)
async def one(p, /, q: int = 2, *args, r, s=None, **kwargs) -> "T":
    global G
    async with x as y, z:
        await w
    async for i in j: yield (k := i)
    else: return {m: n for m in o if m not in (1, 2.5e-3, 1e400, -3j, 0x7F)}
class Two(Base, metaclass=Meta):
    t: int; u: "str" = 'v' "w" rf"{x!r:>{width}.{y}}\\d" f"{q=}" f"{{}}" f""
    def nested(self): return lambda *a, b=1: [*a, b] if b else a[1:2, ::3]
match v:
    case {"k": [1, *rest], **more} | Cls(z=None) if rest: del more[0]
    case "s" | -1 | _: raise E from None
try:
    assert not a or b and c, f"{a:{'x'}}"
except (E, F) as err: x @= ~y ** -z // 2
else: nonlocal_ = b'\\xff' b'\\0', u'\\ud800', ...
finally: pass
"""

PINNED = "eb8ad96f4b3436b1be0914c3509a357e71485c032d993586f63d939780b4f730"


def test_the_form_of_every_syntax_is_the_same_on_every_python() -> None:
    assert form(EVERY_SYNTAX) == PINNED


def test_fields_that_only_a_later_python_has_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ast.ClassDef, "_fields", (*ast.ClassDef._fields, "younger"))
    assert form(EVERY_SYNTAX) == PINNED  # absent
    monkeypatch.setattr(ast.ClassDef, "younger", [], raising=False)
    assert form(EVERY_SYNTAX) == PINNED  # empty


def test_it_needs_nothing_but_the_standard_library() -> None:
    """So that it runs wherever a digest is compared."""
    code = "import runpy, sys; runpy.run_path(sys.argv[1]); print('torch' in sys.modules)"
    words = [sys.executable, "-c", code, str(Path(module.__file__))]
    assert subprocess.run(words, capture_output=True, text=True).stdout.strip() == "False"
