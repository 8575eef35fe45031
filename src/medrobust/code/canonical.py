"""Canonical form of Python source, equal for equal code on every supported Python.

It omits comments, docstrings, formatting and the order of imports. `ast.dump` is not used, since
its output changes with the version of Python.
"""

import ast
import hashlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple


class Import(NamedTuple):
    """Name bound by an import statement.

    Attributes:
        module: absolute dotted path of the module; `a.b` for `import a.b`.
        name: imported name; empty for `import a.b as c`, a dot for `import a.b`.
        bound: bound name; `a` for `import a.b`.
        order: position among the module's imports if it matters, else 0; it matters for names
            bound twice, and for all names of a module with `import *`.
    """

    module: str
    name: str
    bound: str
    order: int = 0

    def modules(self) -> list[str]:
        """List the modules that the import loads: parent packages, the module, and a submodule."""
        parts = self.module.split(".")
        found = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        return [*found, f"{self.module}.{self.name}"] if self.name not in ("", ".") else found


class Form(NamedTuple):
    """A module in canonical form.

    Attributes:
        digest: SHA-256 of the form, 64 hex digits.
        imports: every import of the module, also those inside functions, in no order.
    """

    digest: str
    imports: frozenset[Import]


_SILENT = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
"""Fields of a syntax tree without meaning, or filled only by some versions of Python."""


def canonical(text: str, package: str, shown: Callable[[str], str]) -> Form:
    """Return the canonical form of a module.

    Args:
        text: source of the module.
        package: dotted path of the package that its relative imports start from.
        shown: dotted path of an imported module -> its label in the form, so that paths need not
            count.

    Raises:
        SyntaxError: `text` is not Python.
    """
    tree = ast.parse(text)
    writer = _Writer(package, shown, _overriding(tree, package))
    writer.block(tree.body)
    form = "\0".join(writer.tokens)
    digest = hashlib.sha256(form.encode("utf-8", "surrogatepass")).hexdigest()
    return Form(digest, frozenset(writer.imports))


def _overriding(tree: ast.Module, package: str) -> Callable[[str], bool]:
    """Return a function that tells whether the order of a name's imports matters."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    bound = Counter(entry.bound for node in nodes for entry in _entries(node, package))
    every = "*" in bound
    return lambda name: every or bound[name] > 1


def _entries(node: ast.Import | ast.ImportFrom, package: str) -> list[Import]:
    if isinstance(node, ast.Import):
        return [
            Import(alias.name, "", alias.asname)
            if alias.asname
            else Import(alias.name, ".", alias.name.partition(".")[0])
            for alias in node.names
        ]
    module = node.module or ""
    if node.level:
        parts = package.split(".")
        base = ".".join(parts[: len(parts) - node.level + 1])
        module = f"{base}.{module}" if module and base else base or module
    return [Import(module, alias.name, alias.asname or alias.name) for alias in node.names]


class _Writer:
    """Writer of the tokens of a canonical form.

    Args:
        package: dotted path of the package that relative imports start from.
        shown: label of an imported module.
        overriding: whether the order of a name's imports matters.
    """

    def __init__(
        self, package: str, shown: Callable[[str], str], overriding: Callable[[str], bool]
    ) -> None:
        self.package, self.shown, self.overriding = package, shown, overriding
        self.order = 0
        self.tokens: list[str] = []
        self.imports: set[Import] = set()

    def block(self, body: list[ast.stmt]) -> None:
        """Write statements, skipping those without effect and sorting adjacent imports."""
        waiting: list[Import] = []
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                waiting += _entries(node, self.package)
            elif not _idle(node):
                if waiting:
                    self._imports(waiting)
                    waiting = []
                self._node(node)
        self._imports(waiting)
        self.tokens.append("end")

    def _imports(self, entries: list[Import]) -> None:
        lines = set()
        for entry in entries:
            self.order += 1
            placed = entry._replace(order=self.order if self.overriding(entry.bound) else 0)
            self.imports.add(placed)
            lines.add((self.shown(entry.module), entry.name, entry.bound, str(placed.order)))
        for line in sorted(lines):
            self.tokens += ("import", *line)

    def _node(self, node: ast.AST) -> None:
        if isinstance(node, ast.Constant):
            self.tokens += ("Constant", *_constant(node.value))  # unlike a field that is None
            return
        self.tokens.append(type(node).__name__)
        for name in _fields(node._fields):
            value = getattr(node, name, None)
            if value is None or value == []:
                continue  # a field that older versions of Python lack is empty in old code
            if isinstance(value, ast.JoinedStr):
                value = _joined(value)
            if name == "format_spec" and isinstance(value, ast.Constant) and not value.value:
                continue
            self.tokens.append(name)
            self._value(value)
        self.tokens.append("end")

    def _value(self, value: Any) -> None:
        if isinstance(value, list):
            if value and isinstance(value[0], ast.stmt):
                self.block(value)
                return
            self.tokens.append(str(len(value)))
            for item in value:
                self._value(_joined(item) if isinstance(item, ast.JoinedStr) else item)
        elif isinstance(value, ast.AST):
            self._node(value)
        else:
            self.tokens += _constant(value)


@cache
def _fields(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(name for name in names if name not in _SILENT))


def _idle(node: ast.stmt) -> bool:
    """Return whether a statement has no effect: a docstring, `...`, `pass`."""
    if isinstance(node, ast.Pass):
        return True
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _joined(node: ast.JoinedStr) -> Any:
    """Return the parts of an f-string, or its text if it has no other part.

    Adjacent texts are joined, since versions of Python split them differently.
    """
    made: list[Any] = []
    for part in node.values:
        if not (isinstance(part, ast.Constant) and isinstance(part.value, str)):
            made.append(part)
        elif made and isinstance(made[-1], ast.Constant):
            made[-1] = ast.Constant(str(made[-1].value) + part.value)
        elif part.value:
            made.append(part)
    if any(isinstance(part, ast.FormattedValue) for part in made):
        return made
    return made[0] if made else ast.Constant("")


def _constant(value: Any) -> tuple[str, ...]:
    kind = type(value).__name__
    if isinstance(value, str):
        return kind, str(len(value)), value  # a text may contain the separator of tokens
    if isinstance(value, bytes):
        return kind, value.hex()
    if isinstance(value, bool) or value is None or value is ...:
        return kind, str(value)
    if isinstance(value, int):
        return kind, hex(value)  # `str` rejects very long integers
    if isinstance(value, float):
        return kind, value.hex()
    if isinstance(value, complex):
        return kind, f"{value.real.hex()} {value.imag.hex()}"
    raise TypeError(f"a syntax tree holds a {kind}, expected a constant")
