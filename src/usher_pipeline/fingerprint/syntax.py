"""Source → a digest of its meaning, and the names that it uses.

The digest is taken over a walk of the syntax tree that leaves out what can not
change a result: comments and formatting are not in a tree, docstrings, annotations
of functions and positions are skipped. It writes node types and fields by name and
leaves out empty ones, so that Python 3.11 to 3.14 give one digest, which neither
`ast.dump`, `ast.unparse` nor bytecode do.
"""

from __future__ import annotations
import __future__

import ast
import dis
import linecache
import os
import re
import threading
import weakref
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import lru_cache
from types import CodeType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

__all__ = [
    "FUNCTIONS",
    "Names",
    "canonical",
    "class_definition",
    "definition",
    "hints_of",
    "names_of",
    "names_of_code",
    "read_hint",
    "remember",
    "texts_in",
    "texts_within",
    "unseen_by",
    "words_of_queries",
]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
#: The kinds of node that define a function.
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)

#: Fields that carry no meaning at run time.
_SKIPPED: Final = frozenset(
    {
        "annotation",
        "returns",
        "type_comment",
        "type_params",
        "kind",
        "ctx",
        "type_ignores",
        "simple",
    }
)
#: A class body is different: dataclasses and their like read its annotations.
_SKIPPED_IN_CLASS: Final = _SKIPPED - {"annotation"}

#: What a module compiles with besides its text.
_FUTURE_FLAGS: Final = sum(
    getattr(__future__, name).compiler_flag for name in __future__.all_feature_names
)
#: Scopes of their own in some versions of Python only.
_COMPREHENSION: Final = re.compile(r"<(?:listcomp|setcomp|dictcomp|genexpr)>\.")


@dataclass(slots=True)
class Names:
    """The names that a piece of syntax uses.

    Attributes:
        attributes: Every attribute that is asked for.
        loaded: Every name that is read, in any scope.
        bare: Those read other than as the start of an attribute chain.
        chains: The attribute chains, such as ``("genes", "clean", "normalise")``.
        imports: The imports inside, as ``(module, level, name, local name)``.
        texts: The texts in it.
    """

    attributes: set[str] = field(default_factory=set)
    loaded: set[str] = field(default_factory=set)
    bare: set[str] = field(default_factory=set)
    chains: set[tuple[str, ...]] = field(default_factory=set)
    imports: set[tuple[str, int, str, str]] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)

    def unseen(self) -> set[str]:
        """Return what is used that could change a result unseen, in words."""
        used = self.attributes | self.loaded
        found = {what for name, what in _UNSEEN.items() if name in used}
        if any(map(_NAMES_FILE.search, self.texts)):
            found.add(_FILES)
        if any(chain[:2] == ("sys", "modules") for chain in self.chains):
            found.add("sys.modules")
        return found

    def add(self, other: Names) -> None:
        """Take in what another piece uses."""
        for kind in fields(self):
            getattr(self, kind.name).update(getattr(other, kind.name))

    def words(self, more: Iterable[str] = ()) -> set[str]:
        """Return what could be a name in the texts that it holds, and in some more."""
        texts = (*self.texts, *more)
        return {word for text in texts for word in _WORD.findall(text[:_LONGEST_TEXT])}

    def uses_own_connection(self, name: str) -> bool:
        """Tell whether DuckDB is asked through its module, which has a connection itself.

        Args:
            name: What the module is called.
        """
        asked = {chain[1] for chain in self.chains if chain[0] == name}
        return not asked.isdisjoint(_ASKING)


#: The functions of DuckDB's module that read tables of its own connection.
_ASKING: Final = frozenset(
    ("sql", "query", "execute", "executemany", "table", "view", "from_query", "query_df")
)
_FILES: Final = "files that it opens"
#: A file named in SQL.
_NAMES_FILE: Final = re.compile(
    r"""['"][^'"\n]+\.(csv|tsv|parquet|json|jsonl|ndjson|arrow|feather|xlsx)(\.gz)?['"]"""
)

#: What a function may ask that no key watches.
_UNSEEN: Final = {
    "environ": "environment variables",
    "getenv": "environment variables",
    "import_module": "import_module()",
    "__doc__": "docstrings",
    "__annotations__": "annotations",
    "get_type_hints": "annotations",
    "resolve_name": "modules that a text names",
    "run_path": "modules that a text names",
    "run_module": "modules that a text names",
    "spec_from_file_location": "modules that a text names",
    **dict.fromkeys(
        (
            *("open", "read", "read_text", "read_bytes", "loadtxt", "genfromtxt", "fromfile"),
            *("memmap", "get_data", "open_text", "open_binary", "fileinput", "getline"),
            *("getlines", "dataset", "connect"),
        ),
        _FILES,
    ),
    **dict.fromkeys(
        (
            *("glob", "iglob", "rglob", "listdir", "scandir", "iterdir", "walk", "exists"),
            *("isfile", "isdir", "is_file", "is_dir", "getsize", "getmtime", "stat"),
            "iter_modules",
        ),
        "which files there are",
    ),
    **dict.fromkeys(
        ("expandvars", "expanduser", "home", "getcwd", "cwd", "getpid", "gethostname"),
        "where it runs",
    ),
    **{
        f"{how}_{form}": _FILES
        for how in ("read", "scan")
        for form in ("csv", "parquet", "ipc", "ndjson", "json", "excel", "feather", "table")
    },
    "now": "the time",
    "today": "the time",
    "utcnow": "the time",
    **dict.fromkeys(
        ("time", "time_ns", "perf_counter", "perf_counter_ns", "monotonic"), "the time"
    ),
    **dict.fromkeys(
        (
            *("random", "default_rng", "rand", "randn", "randint", "randbytes", "shuffle"),
            *("permutation", "uuid1", "uuid4", "token_hex", "token_bytes", "token_urlsafe"),
            *("randbelow", "sample"),
        ),
        "random numbers",
    ),
    **dict.fromkeys(
        ("signature", "getsource", "getsourcelines", "getdoc", "currentframe", "_getframe"),
        "how code is written",
    ),
    "subprocess": "other programs",
    "ProcessPoolExecutor": "what child processes read",
    "multiprocessing": "what child processes read",
    "ThreadPool": "what older workers read",
    "__subclasses__": "which classes derive from another",
    "vars": "the order in which a class states its members",
    "__dict__": "the order in which a class states its members",
}

#: What may be the name of a variable, in SQL or in an expression of pandas.
_WORD: Final = re.compile(r"[^\W\d]\w*")
_LONGEST_TEXT: Final = 20_000


def unseen_by(name: str) -> str:
    """Return what a function of a library may ask that no key watches, in words."""
    return _UNSEEN.get(name, "")


def texts_in(values: Iterable[Any], depth: int = 2) -> Iterator[str]:
    """Yield the texts among some values, and in plain collections of them."""
    for value in values:
        if type(value) is str:
            yield value
        elif depth and type(value) in (list, tuple, set, frozenset) and len(value) <= _MANY:
            yield from texts_in(tuple(value), depth - 1)
        elif depth and type(value) is dict and len(value) <= _MANY:
            yield from texts_in(tuple(value.values()), depth - 1)


def words_of_queries(texts: Iterable[str]) -> set[str]:
    """Return what could be the names of variables in those of some texts that are queries.

    Args:
        texts: The texts; in others than SQL only what an ``@`` marks is a name.

    >>> sorted(words_of_queries(["FROM genes", "depth > @cutoff", "no page came from the API"]))
    ['FROM', 'cutoff', 'genes']
    """
    found = set[str]()
    for text in texts:
        start = text[:_LONGEST_TEXT]
        found.update((_WORD if _SQL.search(start) else _MARKED).findall(start))
    return found


#: SQL, also where it begins with the table, or a further piece of it.
_SQL: Final = re.compile(
    r"\bselect\b.*\bfrom\b|^[\s(]*(?:from|select|with|pivot|unpivot|describe|summarize|"
    r"(?:[a-z]+\s+)?(?:[a-z]+\s+)?join)\b",
    re.IGNORECASE | re.DOTALL,
)
#: How `DataFrame.query` marks a variable.
_MARKED: Final = re.compile(r"@([^\W\d]\w*)")


def texts_within(value: Any, fields_of: Callable[[Any], Iterable[Any]]) -> Iterator[str]:
    """Yield the texts in a value, however deep, up to a number of them.

    Args:
        value: The value.
        fields_of: Returns what an object holds that is no plain collection.
    """
    queue, seen, left = deque([value]), set[int](), _MOST_VALUES
    while queue and left:
        each, left = queue.popleft(), left - 1
        if type(each) is str:
            yield each
            continue
        if id(each) in seen or isinstance(each, _FLAT):
            continue
        seen.add(id(each))
        if type(each) in (list, tuple, set, frozenset, dict):
            inner = each.values() if type(each) is dict else each
            queue += inner if len(each) <= _MANY else ()
        else:
            queue += fields_of(each)


#: A collection of more texts than these is data, and no queries.
_MANY: Final = 1000
#: So many values are looked through for texts.
_MOST_VALUES: Final = 10_000
#: What holds no texts.
_FLAT: Final = (int, float, complex, bytes, type(None))


# --- the canonical walk -----------------------------------------------------------------


def canonical(
    node: ast.AST,
    write: Callable[[bytes], object],
    *,
    drop: frozenset[int] = frozenset(),
    keep_name: bool = True,
) -> None:
    """Write the bytes that stand for the meaning of a syntax tree.

    Args:
        node: The tree.
        write: Takes each piece.
        drop: The `id` of each node to leave out.
        keep_name: Count the name of the outermost node.
    """
    _Writer(write, drop).node(node, nameless=not keep_name)


class _Writer:
    def __init__(self, write: Callable[[bytes], object], drop: frozenset[int]) -> None:
        self.write = write
        self.drop = drop
        self.skipped = _SKIPPED

    def node(self, node: ast.AST, *, nameless: bool = False) -> None:
        around = self.skipped
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            self.skipped = _SKIPPED_IN_CLASS if isinstance(node, ast.ClassDef) else _SKIPPED
        self.write(f"({type(node).__name__}".encode())
        for name in node._fields:
            value = getattr(node, name, None)
            empty = value is None or value == []
            if not (empty or name in self.skipped or (nameless and name == "name")):
                self.field(node, name, value)
        self.write(b")")
        self.skipped = around

    def field(self, node: ast.AST, name: str, value: Any) -> None:
        self.write(f" {name}=".encode())
        if isinstance(value, ast.AST):
            self.node(value)
        elif isinstance(value, list):
            self.list(_meaningful(node, name, value))
        else:
            self.constant(value)

    def list(self, items: list[Any]) -> None:
        self.write(b"[")
        for item in items:
            if not isinstance(item, ast.AST):
                self.constant(item)
            elif id(item) in self.drop or self._is_bare_annotation(item) or _is_remark(item):
                continue
            else:
                self.node(item)
            self.write(b",")
        self.write(b"]")

    def constant(self, value: Any) -> None:
        # How text is escaped, and how many digits are printed, depends on the interpreter.
        match value:
            case str():
                text = value
            case int() if not isinstance(value, bool):
                text = hex(value)
            case _:
                text = repr(value)
        data = f"{type(value).__name__}:{text}".encode("utf-8", "surrogatepass")
        self.write(str(len(data)).encode() + b":" + data)

    def _is_bare_annotation(self, item: ast.AST) -> bool:
        unused = "annotation" in self.skipped
        return unused and isinstance(item, ast.AnnAssign) and item.value is None


def _is_remark(item: ast.AST) -> bool:
    """Tell whether a statement does nothing: `pass`, a text or another constant."""
    is_constant = isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)
    return is_constant or isinstance(item, ast.Pass)


def _meaningful(node: ast.AST, name: str, items: list[Any]) -> list[Any]:
    if name == "body" and isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Module)):
        return _without_docstring(items)
    if isinstance(node, ast.JoinedStr):
        return _merged_texts(items)
    return items


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    is_text = (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )
    return body[1:] if is_text else body


def _merged_texts(items: list[ast.expr]) -> list[ast.expr]:
    """Join neighbouring texts of an f-string: versions of Python split them differently."""
    merged: list[ast.expr] = []
    for item in items:
        last = merged[-1] if merged else None
        if _is_text(item) and _is_text(last):
            merged[-1] = ast.Constant(last.value + item.value)  # type: ignore[union-attr,attr-defined]
        elif not (_is_text(item) and item.value == ""):  # type: ignore[attr-defined]
            merged.append(item)
    return merged


def _is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


# --- the names in it --------------------------------------------------------------------


def names_of(nodes: list[ast.AST]) -> Names:
    """Return the names that some syntax uses, annotations of functions aside."""
    names = Names()
    for node in nodes:
        _collect(node, names)
    return names


def _collect(node: ast.AST, names: Names) -> None:
    match node:
        case ast.Name(id=name, ctx=ast.Load()):
            names.loaded.add(name)
            names.bare.add(name)
        case ast.AugAssign(target=ast.Name(id=name)):
            names.loaded.add(name)
            names.bare.add(name)
        case ast.Attribute():
            _collect_chain(node, names)
            return
        case ast.Expr(value=ast.Constant()):
            return
        case ast.Constant(value=str(text)):
            names.texts.add(text)
        case ast.ClassDef(body=body):
            # The annotations of a class may be read: dataclasses and models do.
            hints = [read_hint(s.annotation) for s in body if isinstance(s, ast.AnnAssign)]
            names.add(names_of(hints))
        case ast.Import() | ast.ImportFrom():
            names.imports |= set(_imports(node))
    for name, child in _children(node):
        if name not in _SKIPPED:
            _collect(child, names)


def hints_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.expr]:
    """Return the annotations of a function's parameters and of its result."""
    parameters = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
    around = (node.args.vararg, node.args.kwarg)
    hints = [each.annotation for each in (*parameters, *around) if each is not None]
    return [hint for hint in (*hints, node.returns) if hint is not None]


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, int, str, str]]:
    for alias in node.names:
        if isinstance(node, ast.Import):
            yield alias.name, 0, "", alias.asname or alias.name.partition(".")[0]
        else:
            yield node.module or "", node.level, alias.name, alias.asname or alias.name


def read_hint(hint: ast.expr) -> ast.AST:
    """Return an annotation, with what a text in its place says."""
    if isinstance(hint, ast.Constant) and isinstance(hint.value, str):
        try:
            with _lock:
                return ast.parse(hint.value, mode="eval").body
        except (SyntaxError, ValueError):
            return hint
    return hint


def names_of_code(code: CodeType) -> Names:
    """Return the names that a code object uses, where no source is at hand."""
    names = Names()
    steps = list(dis.get_instructions(code))
    for index, step in enumerate(steps):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            chain = [step.argval]
            for follower in steps[index + 1 :]:
                if follower.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                    break
                chain.append(follower.argval)
            names.loaded.add(chain[0])
            names.attributes.update(chain[1:])
            if len(chain) > 1:
                names.chains.add(tuple(chain))
            else:
                names.bare.add(chain[0])
        elif step.opname == "IMPORT_NAME":
            level, wanted = (each.argval for each in steps[index - 2 : index])
            top = step.argval.partition(".")[0]
            found = wanted if isinstance(wanted, tuple) else ("",)
            names.imports |= {(step.argval, level or 0, n, n or top) for n in found}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.add(names_of_code(constant))
    return names


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for name in node._fields:
        value = getattr(node, name, None)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                yield name, item


def _collect_chain(node: ast.Attribute, names: Names) -> None:
    steps = [node.attr]
    names.attributes.add(node.attr)
    base: ast.expr = node.value
    while isinstance(base, ast.Attribute):
        names.attributes.add(base.attr)
        steps.append(base.attr)
        base = base.value
    if isinstance(base, ast.Name):
        names.loaded.add(base.id)
        names.chains.add((base.id, *reversed(steps)))
    else:
        _collect(base, names)


# --- finding the source of what is loaded -----------------------------------------------


@dataclass(frozen=True, slots=True)
class _Source:
    """A text that was parsed and compiled.

    Attributes:
        functions: Qualified name and first line → the functions that start there.
        classes: Qualified name → the classes of that name.
        codes: Qualified name → the code objects of that name.
    """

    functions: dict[tuple[str, int], list[Function]]
    classes: dict[str, list[ast.ClassDef]]
    codes: dict[str, list[CodeType]]


#: What was found once stays true of the loaded code, whatever becomes of the file. By
#: identity: code of two versions may be equal where their decorators are not.
_found: Final[dict[int, tuple[weakref.ref[CodeType], Function]]] = {}


def definition(code: CodeType) -> Function | None:
    """Return the syntax tree of a function that is loaded.

    The source on disk may have changed since it was loaded; so the tree is taken only
    if compiling that source gives this very code, on whatever line it stands now.

    Args:
        code: The code object of the function.

    Returns:
        The tree, or None when there is no source or it tells of other code.
    """
    place = id(code)
    known = _found.get(place)
    if known is not None and known[0]() is code:
        return known[1]
    source = _source_of(code.co_filename, code.co_flags & _FUTURE_FLAGS)
    node = _matching(code, source) if source is not None else None
    if node is not None:
        remember(code, node)
    return node


def remember(code: CodeType, tree: Function) -> None:
    """State which syntax tree a code object was compiled from, where no text holds it.

    Args:
        code: The code object of a function.
        tree: What defines the function.
    """
    place = id(code)
    _found[place] = weakref.ref(code, lambda _: _found.pop(place, None)), tree


def _matching(code: CodeType, source: _Source) -> Function | None:
    namesakes = source.codes.get(code.co_qualname, [])
    alike = [code] if code in namesakes else []
    alike = alike or [other for other in namesakes if _placeless(other) == _placeless(code)]
    if not alike:
        return None
    place = (_COMPREHENSION.sub("", code.co_qualname), alike[0].co_firstlineno)
    nodes = source.functions.get(place, [])
    fitting = [node for node in nodes if len(nodes) == 1 or _spans(node, alike[0])]
    if not fitting:
        # Python 3.12 gives no columns to a lambda that returns a constant.
        fitting = [node for node in nodes if _makes(node, alike[0])]
    return fitting[0] if fitting and len(set(map(_meaning, fitting))) == 1 else None


def _meaning(node: Function) -> bytes:
    pieces: list[bytes] = []
    canonical(node, pieces.append)
    return b"".join(pieces)


def _makes(node: Function, code: CodeType) -> bool:
    """Tell whether a lambda, compiled on its own, gives the same instructions."""
    if not isinstance(node, ast.Lambda):
        return False
    compiled = compile(ast.Expression(node), "", "eval")
    made = next(c for c in compiled.co_consts if isinstance(c, CodeType))
    return (made.co_code, made.co_consts) == (code.co_code, code.co_consts)


def _placeless(code: CodeType) -> CodeType:
    """Return the code as if it stood at the top of a file."""
    constants = tuple(_placeless(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_firstlineno=1, co_linetable=b"", co_filename="", co_consts=constants)


def class_definition(
    cls: type, codes: Sequence[CodeType], filename: str
) -> ast.ClassDef | None:
    """Return the syntax tree of a class that is loaded, or None when it is not sure.

    Args:
        cls: The class.
        codes: The code of the functions that its body defines. The tree is taken only
            if the source tells of just these.
        filename: The file of its module, or of one of its methods.
    """
    flags = codes[0].co_flags & _FUTURE_FLAGS if codes else 0
    source = _source_of(filename, flags)
    nodes = source.classes.get(cls.__qualname__, []) if source else []
    if source is None or len(nodes) != 1 or any(_matching(c, source) is None for c in codes):
        return None
    return nodes[0]


def _spans(node: Function, code: CodeType) -> bool:
    """Tell whether the code lies within the node; lambdas may share a line."""
    positions = [p for p in code.co_positions() if None not in p and p[2] != p[3]]
    if not positions or node.end_lineno is None or node.end_col_offset is None:
        return False
    start, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
    inside = [(p[0], p[2]) >= start and (p[1], p[3]) <= end for p in positions]
    return all(inside[1:] or inside)


#: What `linecache` keeps is one dictionary, which it changes under whoever reads it; and
#: Python 3.11 raises SystemError when two threads make syntax trees at once.
_lock: Final = threading.RLock()


def _source_of(filename: str, flags: int) -> _Source | None:
    with _lock:
        if os.path.isfile(filename):  # noqa: PTH113 - file names of code are text
            facts = os.stat(filename)  # noqa: PTH116
            return _read_source(filename, flags, (facts.st_mtime_ns, facts.st_size))
        lines = linecache.getlines(filename)
        return _parse("".join(lines), filename, flags) if lines else None


@lru_cache(maxsize=256)
def _read_source(filename: str, flags: int, _state: tuple[int, int]) -> _Source | None:
    linecache.checkcache(filename)
    lines = linecache.getlines(filename)
    return _parse("".join(lines), filename, flags) if lines else None


@lru_cache(maxsize=256)
def _parse(text: str, filename: str, flags: int) -> _Source | None:
    try:
        tree = _tree_of(text, filename)
        module = compile(text, filename, "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError):
        # A notebook's cell magics, or a file that is being written right now.
        return None
    source = _Source({}, {}, {})
    for code in _nested_codes(module):
        source.codes.setdefault(code.co_qualname, []).append(code)
    _index(tree, "", "", source)
    return source


def _tree_of(text: str, filename: str) -> ast.Module:
    """Return the syntax tree of a module, whatever other threads do."""
    for _ in range(_MOST_RACES):
        # A thread of the user's may make one as well, and know of no lock.
        with suppress(SystemError):
            return ast.parse(text, filename)
    return ast.parse(text, filename)


#: How often a tree is tried again after a race that was lost.
_MOST_RACES: Final = 20


def _nested_codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _nested_codes(constant)


def _index(node: ast.AST, around: str, within: str, source: _Source) -> None:
    """Find what is defined; only the body of a definition lies within it."""
    for field_name, child in _children(node):
        prefix = within if field_name == "body" else around
        inner = prefix
        if isinstance(child, ast.ClassDef):
            source.classes.setdefault(prefix + child.name, []).append(child)
            inner = f"{prefix}{child.name}."
        elif isinstance(child, FUNCTIONS):
            name = "<lambda>" if isinstance(child, ast.Lambda) else child.name
            decorators = getattr(child, "decorator_list", [])
            first_line = min([child.lineno, *(d.lineno for d in decorators)])
            source.functions.setdefault((prefix + name, first_line), []).append(child)
            inner = f"{prefix}{name}.<locals>."
        _index(child, prefix, inner, source)
