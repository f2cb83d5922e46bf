"""The cell of a notebook → a function: what goes into it, and the one thing that comes out.

A cell that is kept is the body of a function. Its imports at the head are the notebook's, so
that they are there on a hit as well; all that it assigns stays inside, but its output. So a
notebook is the same after a cell that ran and after one that was answered from the store.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from usher_pipeline.errors import CellError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = ["Cell", "as_function", "read"]

_NESTED: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
#: What is no Python, and IPython reads all the same.
_MAGIC: Final = re.compile(r"^[%!?]|=\s*[%!]|\?$")
#: How Python refuses what only an asynchronous function does.
_AWAITS: Final = re.compile("await|async")
#: What ends a block, so that nothing after it runs.
_ENDS: Final = (ast.Raise, ast.Continue, ast.Break)


@dataclass(frozen=True)
class Cell:
    """A cell that is kept, taken apart.

    Attributes:
        name: The checkpoint.
        imports: The imports at its head, which are the notebook's.
        body: What is run on a miss.
        output: The name that it assigns its result to; empty for the value of its last
            expression.
        look: An expression at its end that only shows something; None if there is none, or
            a semicolon says that nothing is shown.
        shows: Whether the result is shown, as the value of a last expression is.
        reads: The names that it reads and does not bind before, in any scope.
        both: Those of them that it binds as well, somewhere.
        leaves: The names that it states by plain assignment and that stay inside, those
            that begin with ``_`` aside.
        binds: Every name that it binds.
    """

    name: str
    imports: tuple[ast.stmt, ...]
    body: tuple[ast.stmt, ...]
    output: str
    look: ast.Expression | None
    shows: bool
    reads: frozenset[str]
    both: frozenset[str]
    leaves: tuple[str, ...]
    binds: frozenset[str]

    def remark(self, known: Iterable[str]) -> str:
        r"""Return what a person might not expect of the names in it; empty if there is none.

        Args:
            known: The names that the notebook has.

        >>> read("genes", "raw = fetch()\nraw.head()").remark(())[:44]
        'genes keeps the value of its last line alone'
        """
        if not self.output and self.leaves:
            stay = ", ".join(self.leaves)
            return (
                f"{self.name} keeps the value of its last line alone; {stay} will not be in "
                f"the notebook. `--output {self.leaves[0]}` keeps that instead; names that "
                "begin with _ are not mentioned."
            )
        stale = sorted(set(self.leaves) & set(known))
        if not stale:
            return ""
        return (
            f"{self.name} assigns {', '.join(stale)} inside the cell alone; what the notebook "
            "has under that name stays as it was. `--output` says which name is kept; names "
            "that begin with _ are not mentioned."
        )


def read(name: str, text: str, output: str = "", filename: str = "<cell>") -> Cell:
    r"""Return what a cell says.

    Args:
        name: The checkpoint.
        text: The cell.
        output: The name that it assigns its result to, if that was stated.
        filename: What stands for the cell in errors.

    Returns:
        The cell, taken apart. Its output is the one that was stated; else the value of its
        last expression, which is assigned where that is a name; else the one name that it
        assigns.

    Raises:
        CellError: Nobody can tell what its output is, or it does what a function can not.
        SyntaxError: It is not Python.

    >>> text = "import polars as pl\nrows = [1]\ngenes = pl.DataFrame(rows)\ngenes"
    >>> cell = read("genes", text)
    >>> cell.output, sorted(cell.reads), cell.leaves, len(cell.imports)
    ('genes', ['pl'], ('rows',), 1)
    """
    body = _parsed(name, text, filename)
    head = next((i for i, s in enumerate(body) if not _is_import(s)), len(body))
    imports, body = tuple(body[:head]), body[head:]
    _require_local(name, body)
    last = body[-1].value if body and isinstance(body[-1], ast.Expr) else None
    if last is not None and _is_remark(last):
        last = None
    is_quiet = last is not None and _is_quiet(text, last)
    whole = _Flow.of(body)
    found, look = _output(name, output, last, whole)
    if last is not None:
        body = body[:-1]
    flow = _Flow.of(body)
    value = last if not found and last is not None else ast.Name(found, ast.Load())
    flow.expression(value)
    result = ast.Return(value)
    ast.copy_location(result, last if last is not None else body[-1])
    leaves = [each for each in flow.stated if each[0] != "_" and each != found]
    return Cell(
        name=name,
        imports=imports,
        body=(*body, ast.fix_missing_locations(result)),
        output=found,
        look=None if look is None or is_quiet else ast.Expression(look),
        shows=last is not None and look is None and not is_quiet,
        reads=frozenset(flow.early),
        both=frozenset(flow.early & flow.ever),
        leaves=tuple(dict.fromkeys(leaves)),
        binds=frozenset(flow.ever),
    )


def as_function(cell: Cell, inputs: Sequence[str]) -> ast.Module:
    """Return a module that defines a cell as a function of some names.

    Args:
        cell: The cell.
        inputs: The names that are its parameters; their order does not count.

    >>> print(ast.unparse(as_function(read("double", "two = one * 2"), ["one"])))
    def double(one):
        two = one * 2
        return two
    """
    # An interpreter fills in what its own syntax has besides.
    module = ast.parse("def _(): ...")
    function = module.body[0]
    if not isinstance(function, ast.FunctionDef):
        raise TypeError(f"expected a function, got {type(function).__name__}")
    function.name = cell.name
    function.args.args = [ast.arg(each) for each in sorted(set(inputs))]
    function.body = list(cell.body)
    first = cell.body[0]
    # It begins with the line of the magic command.
    function.lineno, function.end_lineno = 1, first.lineno
    for each in function.args.args:
        ast.copy_location(each, function)
    futures = [s for s in cell.imports if _is_future(s)]
    module.body = [*futures, function]
    return module


def _parsed(name: str, text: str, filename: str) -> list[ast.stmt]:
    # The line of the magic command stands above it.
    below = f"\n{text}"
    try:
        tree = ast.parse(below, filename)
        # As a module: `return` and `await` are no part of a cell.
        compile(tree, filename, "exec", dont_inherit=True)
    except SyntaxError as problem:
        lines = below.split("\n")
        line = lines[min(problem.lineno or 1, len(lines)) - 1].strip()
        if _AWAITS.search(problem.msg):
            raise CellError(
                name,
                f"it awaits something ({line})",
                "Await that in a cell of its own, or put @checkpoint above an `async def`.",
            ) from None
        if _MAGIC.search(line):
            raise CellError(
                name,
                f"it has a magic command or a line for the shell ({line})",
                "What these do can not be watched. Move it to a cell of its own.",
            ) from None
        raise
    return tree.body


def _is_import(statement: ast.stmt) -> bool:
    is_star = isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*"
    return isinstance(statement, (ast.Import, ast.ImportFrom)) and not is_star


def _is_future(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.module == "__future__"


def _is_remark(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _require_local(name: str, body: Iterable[ast.stmt]) -> None:
    """Refuse what sets names of the notebook: a hit would leave them as they are."""
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Global):
                raise CellError(
                    name,
                    f"it says `global {', '.join(node.names)}`, and a hit would set nothing",
                    "Take the line out, or do it in a cell that is not kept.",
                )
            is_star = isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
            if is_star:
                raise CellError(
                    name,
                    "it imports *, and nobody can tell which names that are",
                    "Import them by name, or in a cell of their own.",
                )


def _output(
    name: str, stated: str, last: ast.expr | None, flow: _Flow
) -> tuple[str, ast.expr | None]:
    """Return the name that holds the result, and what is only looked at."""
    if stated:
        if stated not in flow.ever:
            bound = ", ".join(sorted(flow.ever)) or "nothing"
            raise CellError(
                name,
                f"--output {stated} is not assigned in it (it assigns {bound})",
                "Name what it assigns, or leave --output out.",
            )
        if last is None or _name_of(last) == stated:
            return stated, None
        inside = sorted(_Flow.of([ast.Expr(last)]).early & flow.ever - {stated})
        if inside:
            raise CellError(
                name,
                f"its last line shows {', '.join(inside)}, which a hit does not make",
                f"Show only what is kept, {stated}, or move that line to the next cell.",
            )
        return stated, last
    if last is not None:
        return _name_of(last), None
    candidates = list(dict.fromkeys(each for each in flow.stated if each[0] != "_"))
    if len(candidates) == 1:
        return candidates[0], None
    what = f"it assigns {', '.join(candidates)}" if candidates else "it assigns nothing"
    cure = (
        f"Say which, as in `--output {candidates[-1]}`, or end it with that name on a line."
        if candidates
        else "End it with the frame as an expression, or assign it to a name."
    )
    raise CellError(name, f"{what}, and one frame is kept", cure)


def _is_quiet(text: str, last: ast.expr) -> bool:
    """Tell whether a semicolon behind the last expression keeps it from being shown."""
    if last.end_lineno is None or last.end_col_offset is None:
        return False
    # The line of the magic command stands above it, and columns are those of bytes.
    line = text.split("\n")[last.end_lineno - 2].encode()
    return line[last.end_col_offset :].lstrip(b" )\t").startswith(b";")


def _name_of(value: ast.expr) -> str:
    return value.id if isinstance(value, ast.Name) else ""


# --- which names are read before they are bound -----------------------------------------


@dataclass
class _Flow:
    """A run through a cell in the order in which it is executed.

    Where it is not sure that a name is bound, it is not: then the notebook's value counts,
    as it would be used.

    Attributes:
        bound: The names that are bound by now; None where nothing runs any more.
        ever: Every name that is bound.
        stated: The targets of plain assignments, in order.
        early: The names that are read where they may not be bound.
        is_class: Whether it is the body of a class.
    """

    bound: set[str] | None = field(default_factory=set)
    ever: set[str] = field(default_factory=set)
    stated: list[str] = field(default_factory=list)
    early: set[str] = field(default_factory=set)
    is_class: bool = False

    @classmethod
    def of(cls, body: Iterable[ast.stmt]) -> _Flow:
        flow = cls()
        flow.block(body)
        return flow

    def block(self, body: Iterable[ast.stmt]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                self.assignment(node)
            case ast.If(test=test, body=body, orelse=orelse):
                self.expression(test)
                self.either([lambda: self.block(body), lambda: self.block(orelse)])
            case ast.For() | ast.AsyncFor() | ast.While():
                self.loop(node)
            case ast.Try() | ast.TryStar():
                self.attempt(node)
            case ast.Match(subject=subject, cases=cases):
                self.expression(subject)
                ways = [lambda each=each: self.expression(each) for each in cases]
                self.either(ways if _takes_all(cases[-1]) else [*ways, lambda: None])
            case _:
                self.expression(node)
                if isinstance(node, _ENDS):
                    self.bound = None

    def assignment(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign) -> None:
        if node.value is None:
            return
        self.expression(node.value)
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            self.load(node.target.id)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self.state(target)

    def loop(self, node: ast.For | ast.AsyncFor | ast.While) -> None:
        self.expression(node.test if isinstance(node, ast.While) else node.iter)

        def once() -> None:
            if not isinstance(node, ast.While):
                self.expression(node.target)
            self.block(node.body)

        self.either([once, lambda: None])
        self.either([lambda: self.block(node.orelse), lambda: None])

    def attempt(self, node: ast.Try | ast.TryStar) -> None:
        def without_error() -> None:
            self.block(node.body)
            self.block(node.orelse)

        handlers = [lambda each=each: self.expression(each) for each in node.handlers]
        self.either([without_error, *handlers])
        self.block(node.finalbody)

    def either(self, ways: Sequence[Callable[[], None]]) -> None:
        """Go each of several ways; what is bound after all of them is bound."""
        before, ends = self.bound, []
        for way in ways:
            self.bound = None if before is None else set(before)
            way()
            ends.append(self.bound)
        open_ends = [end for end in ends if end is not None]
        self.bound = set.intersection(*open_ends) if open_ends else None

    def expression(self, node: ast.AST) -> None:
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                self.load(name)
            case ast.Name(id=name, ctx=ast.Del()):
                self.load(name)
                self.ever.add(name)
                if self.bound is not None:
                    self.bound.discard(name)
            case ast.Name(id=name):
                self.bind(name)
            case ast.NamedExpr(target=target, value=value):
                self.expression(value)
                self.state(target)
            case _ if isinstance(node, _NESTED):
                self.nested(node)
            case _ if isinstance(node, _COMPREHENSIONS):
                self.comprehension(node)
            case _:
                self.children(node)

    def children(self, node: ast.AST, skip: Sequence[ast.AST] = ()) -> None:
        for name in _bound_by(node):
            self.bind(name)
        for child in ast.iter_child_nodes(node):
            if child in skip:
                continue
            if isinstance(child, ast.arguments):
                self.children(child, skip)
            elif isinstance(child, ast.stmt):
                self.statement(child)
            else:
                self.expression(child)

    def nested(self, node: ast.AST) -> None:
        """Look into a definition, which may be called at once."""
        # What stands around it is read before its name is bound.
        around = _around(node)
        for each in around:
            self.expression(each)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            self.bind(node.name)
        inner = _Flow(is_class=isinstance(node, ast.ClassDef))
        inner.children(node, skip=around)
        # The names of a function are its own, wherever it binds them.
        self.take(inner.early if inner.is_class else inner.early - inner.ever)

    def comprehension(self, node: ast.AST) -> None:
        inner = _Flow()
        for each in getattr(node, "generators", []):
            inner.expression(each.iter)
            inner.expression(each.target)
            for test in each.ifs:
                inner.expression(test)
        for kind in ("key", "value", "elt"):
            if hasattr(node, kind):
                inner.expression(getattr(node, kind))
        self.take(inner.early)
        # `:=` binds outside of it, if anything runs.
        self.ever |= set(inner.stated)
        self.stated += inner.stated

    def take(self, names: Iterable[str]) -> None:
        """Load what a scope inside reads, which does not see the names of a class."""
        if self.is_class:
            self.early |= set(names)
        for name in names:
            self.load(name)

    def state(self, target: ast.expr) -> None:
        self.expression(target)
        names = (node for node in ast.walk(target) if isinstance(node, ast.Name))
        self.stated += [name.id for name in names if isinstance(name.ctx, ast.Store)]

    def load(self, name: str) -> None:
        if self.bound is not None and name not in self.bound:
            self.early.add(name)

    def bind(self, name: str) -> None:
        self.ever.add(name)
        if self.bound is not None:
            self.bound.add(name)


def _around(node: ast.AST) -> list[ast.AST]:
    """Return what of a definition is read where it stands: decorators, defaults and bases."""
    found = [*getattr(node, "decorator_list", ())]
    if isinstance(node, ast.ClassDef):
        return [*found, *node.bases, *node.keywords]
    defaults = (*node.args.defaults, *node.args.kw_defaults) if hasattr(node, "args") else ()
    return [*found, *(each for each in defaults if each is not None)]


def _takes_all(case: ast.match_case) -> bool:
    is_capture = isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
    return is_capture and case.guard is None


def _bound_by(node: ast.AST) -> Iterator[str]:
    """Yield the names that syntax binds other than by a name that is a target."""
    match node:
        case ast.alias(name=name, asname=asname):
            yield asname or name.partition(".")[0]
        case ast.arg(arg=name):
            yield name
        case (
            ast.ExceptHandler(name=str(name))
            | ast.MatchAs(name=str(name))
            | ast.MatchStar(name=str(name))
            | ast.MatchMapping(rest=str(name))
        ):
            yield name
