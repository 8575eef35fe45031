"""The digest of all package code."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import medrobust
from medrobust.code import package
from medrobust.code.canonical import canonical
from medrobust.code.package import is_apart, package_digest

HERE = Path(medrobust.__file__).parent
SMALL = {
    "__init__.py": '"""Ours."""\n',
    "a.py": "from medrobust.b import f\n\ndef g(x):\n    return f(x)\n",
    "b.py": "def f(x):\n    return x\n",
    "c.py": "def f(x):\n    return -x\n",
    "metric/__init__.py": "",
    "metric/mean.py": "def mean(x):\n    return sum(x) / len(x)\n",
    "report/table.py": "WIDTH = 3\n",
}

DIGEST = """
import hashlib, json

def digest(value):  # as ours, without torch
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
"""


@pytest.fixture
def digest_of(tmp_path: Path) -> "Digest":
    return Digest(tmp_path)


class Digest:
    """The digest of a small package of this name, in a process that loads nothing of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0

    def __call__(self, files: dict[str, str]) -> str:
        self.number += 1
        root = self.folder / str(self.number) / "medrobust"
        ours = {path.name: path.read_text() for path in (HERE / "code").glob("*.py")}
        code = {f"code/{name}": text for name, text in ours.items()}
        code["fingerprint.py"] = DIGEST
        for name, text in {**code, **files}.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        words = "from medrobust.code.package import package_digest; print(package_digest())"
        made = subprocess.run(
            [sys.executable, "-c", words],
            env={**os.environ, "PYTHONPATH": str(root.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        return made.stdout.strip()


def test_edits_count_and_moves_do_not(digest_of: Digest) -> None:
    first = digest_of(SMALL)
    assert len(first) == 64

    edited = SMALL["metric/mean.py"].replace("len(x)", "(len(x) - 1)")
    assert digest_of({**SMALL, "metric/mean.py": edited}) != first

    said = {**SMALL, "__init__.py": '"""Other words."""\n', "report/table.py": "WIDTH = 4\n"}
    said["b.py"] = "# a comment\n" + SMALL["b.py"]
    assert digest_of(said) == first

    moved = {name: text for name, text in SMALL.items() if name != "b.py"}
    moved["core/b.py"] = SMALL["b.py"]
    moved["a.py"] = SMALL["a.py"].replace("medrobust.b", "medrobust.core.b")
    assert digest_of(moved) == first

    swapped = SMALL["a.py"].replace("medrobust.b", "medrobust.c")  # another f
    assert digest_of({**SMALL, "a.py": swapped}) != first


def test_it_is_read_once_while_no_file_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = package_digest()
    monkeypatch.setattr(package, "linked_digest", lambda sources: "read again")
    assert package_digest() == first


def test_what_makes_numbers_imports_nothing_of_what_is_left_out() -> None:
    """Else its digest could stay the same while a number changes."""
    # They hand over what is finished, and check what only a report reads.
    handed = {("evaluation/run.py", "logger"), ("training/run.py", "logger")}
    allowed = handed | {("keys.py", "report")}
    for path in HERE.rglob("*.py"):
        name = path.relative_to(HERE).as_posix()
        if is_apart(name.removesuffix(".py").split("/")):
            continue
        for entry in canonical(path.read_text(), "", str).imports:
            ours, _, rest = entry.module.partition(".")
            parts = [*filter(None, rest.split(".")), entry.name]
            folder = parts[0]
            wrong = ours == "medrobust" and is_apart(parts) and (name, folder) not in allowed
            assert not wrong, f"{name} imports from {folder}"
