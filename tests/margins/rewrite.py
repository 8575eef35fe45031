"""Makes the claims of a test module report their margins, and its seeds shift."""

import ast

from tests.margins.record import Site

ORDER = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}
SEEDED = {"manual_seed", "default_rng", "RandomState", "seed_everything"}
CLOSE = {"assert_close", "assert_allclose", "allclose"}


def name_of(node: ast.expr) -> str:
    """Return the last name of a called function."""
    return getattr(node, "attr", getattr(node, "id", ""))


def _passed_on(node: ast.expr) -> bool:
    """Tell whether a seed is one that the package has set, and so is shifted already or stays."""
    calls = (part for part in ast.walk(node) if isinstance(part, ast.Call))
    return isinstance(node, ast.Starred) or any(name_of(c.func) == "initial_seed" for c in calls)


def constant(node: ast.expr) -> bool:
    """Return whether an expression holds literals and names in capitals only."""
    names = [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call | ast.Subscript)]
    return not calls and all(name.isupper() for name in names)


class Rewriter(ast.NodeTransformer):
    """Sends comparisons on which an assertion rests through `margins.record`.

    A comparison counts where the assertion fails without it: at its top, in an `and`, in
    `(…).all()`, `(…).any()` and `all(… for …)`. What lies below a mean or a sum is no claim.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.sites: list[Site] = []

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """Rewrite the claims of one assertion."""
        node.test = self._claim(node.test)
        self.generic_visit(node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Shift a seed, or watch a comparison of arrays."""
        name = name_of(node.func)
        if name in CLOSE:
            node.func = self._call("close", node, [node.func])
        elif name in SEEDED and node.args and not _passed_on(node.args[0]):
            node.args[0] = self._reach("seed", node, [node.args[0]])
        self.generic_visit(node)
        return node

    def _claim(self, test: ast.expr) -> ast.expr:
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            test.values = [self._claim(value) for value in test.values]
        elif isinstance(test, ast.Compare):
            return self._compare(test)
        elif isinstance(test, ast.Call) and name_of(test.func) in ("all", "any"):
            if isinstance(test.func, ast.Attribute):
                if isinstance(test.func.value, ast.Compare):
                    test.func.value = self._compare(test.func.value, name_of(test.func))
            elif isinstance(test.args[0], ast.GeneratorExp) and name_of(test.func) == "all":
                test.args[0].elt = self._claim(test.args[0].elt)
        return test

    def _compare(self, node: ast.Compare, over: str = "all") -> ast.expr:
        sides = [node.left, *node.comparators]
        text = ast.unparse(node)
        for part in [part for side in sides for part in ast.walk(side)]:
            match part:
                case ast.Call(func=ast.Attribute(attr="mean") as mean, args=[]):
                    mean.value = self._reach("share_of", node, [mean.value])
        if all(type(op) in ORDER for op in node.ops):
            signs = tuple(ORDER[type(op)] for op in node.ops)
            fixed = tuple(constant(side) for side in sides)
            return self._call("compare", node, sides, text, signs, fixed, over)
        if isinstance(node.ops[0], ast.Eq) and len(sides) == 2 and over == "all":
            last = sides[1]
            if isinstance(last, ast.Call) and name_of(last.func) == "approx":
                return self._call("approx", node, sides)
        return node

    def _call(
        self,
        method: str,
        node: ast.expr,
        arguments: list[ast.expr],
        text: str = "",
        signs: tuple[str, ...] = (),
        fixed: tuple[bool, ...] = (),
        over: str = "all",
    ) -> ast.expr:
        text = text or ast.unparse(node)
        self.sites.append(Site(self.path, node.lineno, text, signs, fixed, over))
        site = ast.Subscript(
            ast.Name("__sites__", ast.Load()), ast.Constant(len(self.sites) - 1), ast.Load()
        )
        return self._reach(method, node, [site, *arguments])

    def _reach(self, method: str, node: ast.expr, arguments: list[ast.expr]) -> ast.expr:
        name = ast.Attribute(ast.Name("__margins__", ast.Load()), method, ast.Load())
        call = ast.Call(name, arguments, [])
        return ast.fix_missing_locations(ast.copy_location(call, node))


def _leads(statement: ast.stmt) -> bool:
    """Return whether a statement must stay first: a docstring, or an import of the future."""
    text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return text or (isinstance(statement, ast.ImportFrom) and statement.module == "__future__")


def rewrite(tree: ast.Module, path: str) -> None:
    """Rewrite a module in place.

    Args:
        tree: the module as parsed.
        path: where it lies below the folder of tests, for the table.
    """
    rewriter = Rewriter(path)
    rewriter.visit(tree)
    prologue = ast.parse(
        "from tests.margins import record as __margins__\n"
        f"__sites__ = __margins__.sites({[tuple(site) for site in rewriter.sites]!r})"
    ).body
    starts = (i for i, one in enumerate(tree.body) if not _leads(one))
    place = next(starts, len(tree.body))
    for statement in prologue:
        for part in ast.walk(statement):
            if hasattr(part, "lineno"):
                part.lineno = part.end_lineno = 1
    tree.body[place:place] = prologue
