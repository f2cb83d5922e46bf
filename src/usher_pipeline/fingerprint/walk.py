"""The walk over all that a function reaches: helpers, classes, constants, modules.

Each thing reached is a node with a digest of its own, so that a miss can name it.
"""

from __future__ import annotations

import abc
import ast
import builtins
import dataclasses
import dis
import enum
import importlib
import importlib.util
import inspect
import logging
import os
import sys
import types
import weakref
from collections import deque
from functools import cached_property, partial, partialmethod, singledispatchmethod
from typing import TYPE_CHECKING, Any, Final

import xxhash

from usher_pipeline import display
from usher_pipeline.errors import FingerprintError
from usher_pipeline.fingerprint import classes, syntax, values
from usher_pipeline.fingerprint.encoder import importable_name, public_name
from usher_pipeline.fingerprint.graph import (
    MISSING,
    CodeGraph,
    Members,
    Registered,
    State,
    held,
    look_up,
)
from usher_pipeline.fingerprint.libraries import mock_behind
from usher_pipeline.records import Part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import PurePath

    from usher_pipeline.fingerprint.ownership import Ownership

__all__ = ["checkpoint_in", "is_owned", "reached_from"]

#: Stands for code that a version replaces.
_REPLACED: Final = object()
_DYNAMIC: Final = frozenset({"eval", "exec", "__import__", "globals", "locals", "compile"})
_GLOBAL_LOADS: Final = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_STORES: Final = frozenset({"STORE_GLOBAL", "STORE_DEREF", "STORE_ATTR"})
_FIXED: Final = (type(None), bool, int, float, complex, str, bytes, range)

#: What a module holds about itself; moving a file changes it and no result.
_MODULE_MACHINERY: Final = frozenset(
    {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__loader__", "__path__"}
)

#: How deep foreign closures are looked through for code of the user's.
_DEEPEST: Final = 6


def reached_from(
    function: Any,
    ownership: Ownership,
    *,
    with_defaults: bool,
    counted: Mapping[Any, Any] | None = None,
) -> CodeGraph:
    """Return the graph of all that a function or class reaches, walked anew.

    Args:
        function: The function as it was written, under its own decorators; or a class.
        ownership: Which code counts.
        with_defaults: Count the defaults of the function's own parameters.
        counted: What names and values stand for, where that is not what they are now.
    """
    walk = _Walk(ownership, with_defaults=with_defaults)
    walk.graph.counted = dict(counted or {})
    return walk.run(function)


def is_owned(thing: Any, ownership: Ownership) -> bool:
    """Tell whether a function, class or module is first-party."""
    if isinstance(thing, types.FunctionType):
        # functools.wraps copies __module__; the globals tell where it was written.
        module = thing.__globals__.get("__name__")
        # Whoever runs code by exec(text, {}) wrote it.
        return module is None or ownership.owns_module(module, thing.__code__.co_filename)
    if isinstance(thing, types.ModuleType):
        return ownership.owns_loaded(thing)
    return isinstance(thing, type) and ownership.owns(thing)


def _label(thing: Any) -> str:
    if isinstance(thing, types.ModuleType):
        return f"module {thing.__name__}"
    if isinstance(thing, type):
        return f"class {thing.__qualname__}"
    file = os.path.basename(thing.__code__.co_filename)  # noqa: PTH119 - code names files by text
    # The cells of a notebook have made-up files, another number each time they are run.
    is_file = file.endswith(".py") and not file.removesuffix(".py").isdigit()
    place = f" in {file}" if is_file else ""
    return f"helper {thing.__qualname__}(){place}"


def _global_names(code: types.CodeType) -> set[str]:
    names = {step.argval for step in dis.get_instructions(code) if step.opname in _GLOBAL_LOADS}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _global_names(constant)
    return names


def _stored_names(code: types.CodeType) -> set[str]:
    """Return the names outside of itself that code gives another meaning."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in _STORES}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _stored_names(constant)
    return names


def _is_fixed(value: Any) -> bool:
    """Tell whether a value can not change in place."""
    if isinstance(value, (tuple, frozenset)):
        return all(map(_is_fixed, value))
    if isinstance(value, types.BuiltinFunctionType):
        owner = value.__self__
        return owner is None or isinstance(owner, types.ModuleType)
    return type(value) in _FIXED or isinstance(value, enum.Enum)


def _beside(member: enum.Enum) -> dict[str, Any]:
    """Return what a member of an enumeration holds besides its value."""
    cls = type(member)
    return {
        name: value
        for name, value in vars(member).items()
        # What is computed when it is first asked for follows from its function.
        if not _is_of_python(name)
        and not isinstance(inspect.getattr_static(cls, name, None), cached_property)
    }


def _is_of_python(name: str) -> bool:
    """Tell whether a name is one that Python keeps for its own use in enumerations."""
    return name.startswith("_") and name.endswith("_")


def _is_of_module(name: str) -> bool:
    """Tell whether a name is one that Python, or a notebook, keeps in a module."""
    return name.startswith("__") and (name in _OF_MODULES or not name.strip("_"))


#: What libraries write into a class with functions of its author inside: pydantic where there
#: are private attributes, attrs where a class with slots has a `cached_property`.
_WRAPPING: Final = ("model_post_init", "__getattr__")
#: What Python keeps in a module about itself.
_OF_MODULES: Final = frozenset(
    f"__{name}__"
    for name in (
        *("name", "doc", "package", "loader", "spec", "path", "file", "cached", "builtins"),
        *("annotations", "annotate", "annotate_func", "conditional_annotations", "dict"),
        *("warningregistry", "firstlineno", "static_attributes"),
    )
) | {"__vsc_ipynb_file__"}


def _is_docstring(code: types.CodeType) -> bool:
    """Tell whether the first constant of a function is its docstring.

    From Python 3.13 on a flag says so. Before, a text that stands first and is never
    loaded is one.
    """
    flag = getattr(inspect, "CO_HAS_DOCSTRING", 0x4000000)
    if sys.version_info >= (3, 13):
        return bool(code.co_flags & flag)
    loads = (step for step in dis.get_instructions(code) if step.opname == "LOAD_CONST")
    return all(step.arg != 0 for step in loads)


# --- the walk ---------------------------------------------------------------------------


class _Node:
    """One thing in the graph while it is being digested."""

    def __init__(self, thing: Any, label: str, number: int) -> None:
        self.thing = thing
        self.label = label
        self.number = number
        self.preview = ""
        self.hasher = xxhash.xxh3_128()
        self.targets: list[int] = []

    def feed(self, *pieces: str | bytes) -> None:
        for piece in pieces:
            data = piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece
            self.hasher.update(len(data).to_bytes(8, "little"))
            self.hasher.update(data)


class _Held:
    """How the constant of a walk counts: what can not be encoded in it is told."""

    def __init__(self, walk: _Walk, where: str) -> None:
        self.walk = walk
        self.where = where
        self.left: list[str] = []

    def unknown(self, path: str, kind: str) -> None:
        name, _, place = self.where.partition(" in ")
        self.left.append(f"{name}{path} ({kind}) in {place}")

    def place(self, path: PurePath) -> str:
        """Return a path as seen from the project, so that the project can be moved."""
        for root in self.walk.ownership.places():
            if path.is_relative_to(root):
                return f"project:{path.relative_to(root).as_posix()}"
        return path.as_posix()

    def tell(self) -> None:
        for what in self.left:
            self.walk.untracked(what)


class _Walk:
    """A walk over all that one function reaches, breadth first in the order of names."""

    def __init__(self, ownership: Ownership, *, with_defaults: bool) -> None:
        self.ownership = ownership
        self.with_defaults = with_defaults
        self.graph = CodeGraph()
        self.nodes: dict[Any, _Node] = {}
        self.queue: deque[_Node] = deque()
        #: The names that are watched, each in its space, which the graph keeps alive.
        self.watched: set[tuple[int, str]] = set()
        #: Words of queries that were reached, and were not yet looked up.
        self.words: set[str] = set()

    def run(self, function: Any) -> CodeGraph:
        self.root = self.holder = function
        self.graph.loaded = len(sys.modules)
        name = getattr(function, "__qualname__", type(function).__qualname__)
        self.reach(function, name if isinstance(function, type) else f"{name}()")
        while self.queue or self.follow_queries():
            self.holder = self.queue.popleft().thing
            self.visit(self.nodes[id(self.holder)])
        total = xxhash.xxh3_128()
        labels: dict[str, int] = {}
        for node in self.nodes.values():
            labels[node.label] = count = labels.get(node.label, 0) + 1
            label = node.label if count == 1 else f"{node.label} #{count}"
            digest = node.hasher.hexdigest()
            self.graph.parts.append(Part("code", label, digest, node.preview))
            total.update(f"{digest}{node.targets}".encode())
        self.graph.digest = total.hexdigest()
        return self.graph

    def reach(self, thing: Any, label: str) -> _Node:
        if id(thing) not in self.nodes:
            self.nodes[id(thing)] = _Node(thing, label, len(self.nodes))
            self.queue.append(self.nodes[id(thing)])
        return self.nodes[id(thing)]

    def visit(self, node: _Node) -> None:
        if isinstance(node.thing, type):
            self.visit_class(node)
        elif isinstance(node.thing, types.ModuleType):
            self.visit_module(node)
        elif is_owned(node.thing, self.ownership):
            self.visit_function(node)
        else:
            self.visit_foreign(node)

    # --- functions ---

    def visit_foreign(self, node: _Node) -> None:
        """Visit what a call into a library made: its code is the library's, its data not."""
        function = node.thing
        node.feed("foreign", public_name(function))
        is_told = self.follow_wrapped(node, "", function)
        if is_told or not isinstance(function, types.FunctionType):
            return
        self.follow_closure(node, function)
        self.follow_defaults(node, function)

    def visit_function(self, node: _Node) -> None:
        function = node.thing
        is_root = function is self.root
        # A graph that held its own function would keep it, and itself, for ever.
        place = weakref.ref(function) if is_root else function
        watched = (
            function.__code__,
            function.__defaults__,
            function.__kwdefaults__,
            len(function.__dict__),
        )
        self.graph.functions.append((place, *watched))
        called = _global_names(function.__code__)
        self.graph.stores |= _stored_names(function.__code__)
        found = syntax.definition(function.__code__)
        if found is None:
            self.feed_bytecode(node, function.__code__)
            self.untracked(f"the source of {node.label}, which is not there; bytecode counts")
            uses, names = syntax.names_of_code(function.__code__), called
        else:
            uses, names = self.feed_tree(node, found, called)
        self.words |= syntax.words_of_queries(uses.texts)
        if self.with_defaults or not is_root:
            self.follow_defaults(node, function)
        self.follow_closure(node, function)
        self.follow_names(node, names, uses, function.__globals__)
        self.follow_imports(node, uses, function.__globals__)
        for what in sorted(uses.unseen()):
            self.untracked(f"{what} in {node.label}")
        for name, accessor in classes.accessors(uses.attributes):
            if is_owned(accessor, self.ownership):
                self.edge(node, f"accessor {name}", accessor)
        around = checkpoint_in(function.__dict__.get("__wrapped__"))
        copied = {} if around is None else held(around, "__dict__")
        for name, value in sorted(function.__dict__.items()):
            # What is kept on the function itself; a decorator keeps the function there.
            if name in copied:
                continue
            if name == "__wrapped__" or not name.startswith("__"):
                self.watch(function.__dict__, name, value)
                self.edge(node, name, value)

    def feed_tree(
        self, node: _Node, tree: Any, called: set[str]
    ) -> tuple[syntax.Names, set[str]]:
        function = node.thing
        is_root = function is self.root
        decorators = self.counting_decorators(tree, function, is_root=is_root)
        kept = set(map(id, decorators))
        drop = {id(d) for d in getattr(tree, "decorator_list", []) if id(d) not in kept}
        # Values of defaults are encoded, or bound as arguments: their spelling does not count.
        drop |= {id(d) for d in (*tree.args.defaults, *tree.args.kw_defaults) if d is not None}
        syntax.canonical(tree, node.hasher.update, drop=frozenset(drop), keep_name=not is_root)
        if decorators and not isinstance(tree, ast.Lambda):
            # A decorator may read the annotations, as those that validate do.
            for hint in syntax.hints_of(tree):
                syntax.canonical(hint, node.hasher.update)
        body = tree.body if isinstance(tree.body, list) else [tree.body]
        around = syntax.names_of(list(decorators))
        uses = syntax.names_of([*decorators, *body])
        # Annotations load names as well, on some versions of Python; they do not count.
        # A private name is spelled differently in the code of a method.
        names = {name for name in called if name in uses.loaded or "__" in name}
        names |= around.loaded
        return uses, names | self.named_in_texts(uses, names, function)

    def named_in_texts(
        self, uses: syntax.Names, names: Iterable[str], function: Any
    ) -> set[str]:
        """Return the globals that texts name, as `DataFrame.query` and SQL look them up."""
        space = function.__globals__
        cells = [look_up(cell, "") for cell in function.__closure__ or ()]
        defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
        named = [space.get(name) for name in set(names) - _MODULE_MACHINERY]
        held_texts = syntax.texts_in([*named, *cells, *defaults])
        found = {word for word in uses.words(held_texts) if word in space}
        return {
            w for w in found if not isinstance(space[w], types.ModuleType) and w[:2] != "__"
        }

    def follow_queries(self) -> bool:
        """Follow the globals of the function itself that queries name, wherever those lie.

        A query may be put together anywhere; what runs it looks names up where it is called
        from, and that is mostly the function.

        Returns:
            Whether that led to anything that is still to be visited.
        """
        words, self.words = self.words, set()
        if not isinstance(self.root, types.FunctionType):
            return False
        space = self.root.__globals__
        followed = {name for where, name, _ in self.graph.names if where is space}
        found = {
            word
            for word in words - followed
            if word[:2] != "__" and not isinstance(space.get(word, None), types.ModuleType)
        }
        self.holder = self.root
        self.follow_names(
            self.nodes[id(self.root)], found & space.keys(), syntax.Names(), space
        )
        return bool(self.queue) or (bool(self.words) and self.follow_queries())

    def counting_decorators(self, tree: Any, function: Any, *, is_root: bool) -> list[Any]:
        """Return the decorators that belong to the meaning: not ours, nor those around it."""
        decorators = list(getattr(tree, "decorator_list", []))
        ours = [index for index, d in enumerate(decorators) if self.is_ours(d, function)]
        if not ours:
            return decorators
        inner = decorators[ours[-1] + 1 :]
        return inner if is_root else [*decorators[: ours[0]], *inner]

    def is_ours(self, decorator: Any, function: Any) -> bool:
        """Tell whether a decorator is @checkpoint, whose options count on their own."""
        names = syntax.names_of([getattr(decorator, "func", decorator)])
        chain = next(iter(names.chains), None) or tuple(names.bare)[:1]
        if not chain:
            return False
        found = look_up(function.__globals__, chain[0])
        for step in chain[1:]:
            found = getattr(found, step, MISSING)
        found = found.func if isinstance(found, partial) else found
        return getattr(found, "__usher_decorator__", False) is True

    def feed_bytecode(self, node: _Node, code: types.CodeType) -> None:
        version = f"bytecode {sys.version_info[0]}.{sys.version_info[1]}"
        counts = (
            code.co_argcount,
            code.co_posonlyargcount,
            code.co_kwonlyargcount,
            code.co_flags,
        )
        node.feed(version, str(counts), code.co_code, code.co_exceptiontable)
        node.feed(*code.co_names, "|", *code.co_varnames, "|", *code.co_freevars)
        is_function = code.co_flags & inspect.CO_NEWLOCALS and code.co_consts
        for index, constant in enumerate(code.co_consts):
            if isinstance(constant, types.CodeType):
                self.feed_bytecode(node, constant)
            elif (
                index == 0 and is_function and isinstance(constant, str) and _is_docstring(code)
            ):
                node.feed("docstring or none")
            else:
                node.feed(values.digest(constant))

    def follow_defaults(self, node: _Node, function: Any) -> None:
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        # Anybody may have given a function more of them than it takes arguments.
        plain = (function.__defaults__ or ())[-len(names) :] if names else ()
        defaults = dict(zip(names[len(names) - len(plain) :], plain, strict=True))
        for name, value in sorted((defaults | (function.__kwdefaults__ or {})).items()):
            self.edge(node, f"default {name}", value)

    def follow_closure(self, node: _Node, function: Any) -> None:
        cells = function.__closure__ or ()
        for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
            value = look_up(cell, name)
            self.watch(cell, name, value)
            value = self.stands_for(cell, name, value)
            if name != "__class__":
                self.edge(node, name, value)

    def follow_wrapped(self, node: _Node, name: str, thing: Any) -> bool:
        """Follow what a foreign decorator wrapped around code of the user's.

        Returns:
            Whether that says all there is to say of it.
        """
        registered = getattr(thing, "registry", None)
        if isinstance(registered, types.MappingProxyType) and hasattr(thing, "dispatch"):
            # What functools.singledispatch makes; each type has a function of its own.
            self.graph.states.append(State.of(registered, f"{name} in {node.label}"))
            for kind, function in registered.items():
                self.edge(node, f"{name}.{public_name(kind)}", function)
            return True
        wrapped = held(thing, "__wrapped__")
        if callable(wrapped):
            self.edge(node, f"{name}.__wrapped__", wrapped)
        return False

    def owned_inside(self, value: Any, depth: int) -> Iterator[Any]:
        """Yield what is first-party in the closure of a foreign function, however deep."""
        if depth > _DEEPEST:
            return
        inner: Iterable[Any] = ()
        if isinstance(value, types.FunctionType):
            if depth and is_owned(value, self.ownership):
                yield value
                return
            inner = [look_up(cell, "") for cell in value.__closure__ or ()]
        elif isinstance(value, types.MethodType):
            inner = (value.__func__, value.__self__)
        elif isinstance(value, partial):
            inner = (value.func, *value.args, *value.keywords.values())
        elif isinstance(value, dict):
            inner = list(value.values())
        elif isinstance(value, (list, tuple, set, frozenset)):
            inner = list(value)
        elif is_owned(type(value), self.ownership) or is_owned(value, self.ownership):
            yield value
        for each in inner:
            yield from self.owned_inside(each, depth + 1)

    # --- names ---

    def follow_names(
        self, node: _Node, names: Iterable[str], uses: syntax.Names, space: dict[str, Any]
    ) -> None:
        for name in sorted(names):
            if name in _MODULE_MACHINERY:
                node.feed(name)
                continue
            found = look_up(space, name)
            self.watch(space, name, found)
            found = self.stands_for(space, name, found)
            if isinstance(found, types.ModuleType) and mock_behind(found) is None:
                self.follow_module(node, name, found, uses)
            elif found is MISSING and hasattr(builtins, name):
                # Python moves its own functions between modules; the name says enough.
                node.feed(name, "builtin")
                if name in _DYNAMIC:
                    self.untracked(f"{name}() in {node.label}")
            else:
                self.edge(node, name, found)

    def follow_module(
        self, node: _Node, name: str, module: types.ModuleType, uses: syntax.Names
    ) -> None:
        if not self.ownership.owns_loaded(module):
            node.feed(name, module.__name__)
            if module.__name__ == "duckdb" and uses.uses_own_connection(name):
                self.untracked(f"tables of DuckDB's own connection in {node.label}")
            for chain in sorted(chain for chain in uses.chains if chain[0] == name):
                self.follow_put(node, chain, module)
            return
        chains = sorted(chain for chain in uses.chains if chain[0] == name)
        if name in uses.bare or not chains:
            # The module itself is handed on: anything in it may be used.
            self.edge(node, name, module)
        for chain in chains:
            self.follow_chain(node, chain, module)

    def follow_put(self, node: _Node, chain: tuple[str, ...], found: Any) -> None:
        """Follow code of the user's, or a mock, that was put into a module of a library."""
        for depth, step in enumerate(chain[1:], 2):
            # Asking the module itself might make it import something.
            value = vars(found).get(step, MISSING)
            # Somebody may put something there later.
            self.watch(vars(found), step, value)
            if self.is_put(value):
                self.edge(node, ".".join(chain[:depth]), value)
                return
            if not isinstance(value, types.ModuleType):
                return
            found = value

    def is_put(self, value: Any) -> bool:
        """Tell whether what a library has under a name is the user's, or a mock."""
        if mock_behind(value) is not None:
            return True
        if isinstance(value, partial):
            return self.is_put(value.func)
        if isinstance(value, types.MethodType):
            return self.is_put(value.__self__) or self.is_put(value.__func__)
        is_code = isinstance(value, (types.FunctionType, type))
        return is_owned(value if is_code else type(value), self.ownership)

    def follow_chain(self, node: _Node, chain: tuple[str, ...], module: Any) -> None:
        found = module
        for depth, step in enumerate(chain[1:], 2):
            value = look_up(found, step)
            self.watch(found, step, value)
            value = self.stands_for(found, step, value)
            if not isinstance(value, types.ModuleType) or depth == len(chain):
                self.edge(node, ".".join(chain[:depth]), value)
                return
            if not self.ownership.owns_loaded(value):
                node.feed(".".join(chain[:depth]), value.__name__)
                return
            found = value

    def follow_imports(self, node: _Node, uses: syntax.Names, space: dict[str, Any]) -> None:
        for module_name, level, name, local in sorted(uses.imports):
            module = self.import_first_party(module_name, level, space)
            if module is None:
                self.follow_import_of_library(node, module_name, name, local, uses)
                continue
            if name == "*":
                self.edge(node, f"import {module_name}", module)
            elif name:
                found = _attribute_or_submodule(module, name)
                self.watch(module, name, found)
                self.edge(node, f"import {name}", found)
            else:
                is_renamed = local != module_name.partition(".")[0]
                start = module if is_renamed else sys.modules[local]
                self.follow_module(node, local, start, uses)

    def follow_import_of_library(
        self, node: _Node, module_name: str, name: str, local: str, uses: syntax.Names
    ) -> None:
        """Follow what was put into a library that a function imports inside itself."""
        module = sys.modules.get(module_name)
        if module is None or self.ownership.owns_loaded(module):
            return
        if name:
            self.follow_put(node, (module_name, name), module)
            return
        is_renamed = local != module_name.partition(".")[0]
        start = module if is_renamed else sys.modules[local]
        for chain in sorted(chain for chain in uses.chains if chain[0] == local):
            self.follow_put(node, chain, start)

    def import_first_party(
        self, name: str, level: int, space: dict[str, Any]
    ) -> types.ModuleType | None:
        """Import what a function imports inside itself, if it is first-party."""
        package = space.get("__package__") or ""
        try:
            full = importlib.util.resolve_name("." * level + name, package) if level else name
            top = full.partition(".")[0]
            if top not in sys.modules:
                spec = importlib.util.find_spec(top)
                if spec is None or not self.ownership.owns_module(top, spec.origin):
                    return None
            elif not self.ownership.owns_loaded(sys.modules[top]):
                return None
            module = importlib.import_module(full)
        except Exception:  # noqa: BLE001 - a module may raise anything while it is imported
            # The function itself will fail there, with the better message.
            return None
        self.watch(sys.modules, full, module)
        return module

    # --- classes and modules ---

    def visit_class(self, node: _Node) -> None:
        cls = node.thing
        node.feed("class", cls.__name__, classes.compiled_in(sys.modules.get(cls.__module__)))
        for index, base in enumerate(cls.__bases__):
            self.edge(node, f"base {index}", base)
        self.edge(node, "metaclass", type(cls))
        own = [f for f in classes.own_functions(cls) if not classes.is_generated(cls, f)]
        # A notebook's module may be another one by now; a function keeps its own.
        space = (
            own[0].__globals__
            if own
            else getattr(sys.modules.get(cls.__module__), "__dict__", {})
        )
        self.graph.states.append(Members.of(cls))
        uses = self.feed_class_tree(node, cls, own)
        self.follow_names(node, uses.loaded - set(cls.__dict__) - {cls.__name__}, uses, space)
        for name, value in classes.loaded_fields(cls):
            self.edge(node, name, value)
        if isinstance(cls, enum.EnumType):
            found: dict[str, enum.Enum] = dict(cls.__members__)
            members = {name: (member.value, _beside(member)) for name, member in found.items()}
            self.value(node, "members", members)
        others = sorted(map(self.name_of, classes.registered(cls)))
        if others:
            node.feed("registered", *others)
        if isinstance(cls, abc.ABCMeta):
            self.graph.states.append(Registered.of(cls))
        for name, value in sorted(cls.__dict__.items()):
            if self.counts_in_class(cls, name, value):
                self.watch(cls, name, value)
                self.class_attribute(node, name, self.stands_for(cls, name, value))
            elif name in _WRAPPING and isinstance(value, types.FunctionType):
                held = self.owned_inside(list(value.__defaults__ or ()), 0)
                for index, inner in enumerate((*self.owned_inside(value, 0), *held)):
                    self.edge(node, f"{name} {index}", inner)

    def counts_in_class(self, cls: type, name: str, value: Any) -> bool:
        """Tell whether the user wrote an attribute, and no machinery did."""
        functions = [function for _, function in classes.functions_in(value)]
        if functions:
            return not all(classes.is_generated(cls, function) for function in functions)
        # Python's own attributes differ from version to version; the user's are in the tree.
        is_machinery = classes.is_machinery(name) and checkpoint_in(value) is None
        is_slot = isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType))
        is_field = issubclass(cls, tuple) and name in getattr(cls, "_fields", ())
        is_member = isinstance(cls, enum.EnumType) and (
            name in cls.__members__ or _is_of_python(name)
        )
        if value is object.__init__:
            # Python puts it into what implements a protocol, when that is first made.
            return False
        return not (is_machinery or is_slot or is_field or is_member)

    def feed_class_tree(
        self, node: _Node, cls: type, own: list[types.FunctionType]
    ) -> syntax.Names:
        tree = syntax.class_definition(
            cls, [f.__code__ for f in own], classes.file_of(cls, own)
        )
        if tree is None:
            node.feed(*sorted(inspect.get_annotations(cls)))
            return syntax.Names()
        functions = frozenset(id(n) for n in tree.body if isinstance(n, syntax.FUNCTIONS))
        syntax.canonical(tree, node.hasher.update, drop=functions)
        rest = [statement for statement in tree.body if id(statement) not in functions]
        hints = [syntax.read_hint(s.annotation) for s in rest if isinstance(s, ast.AnnAssign)]
        around = (*tree.decorator_list, *tree.bases, *tree.keywords)
        uses = syntax.names_of([*around, *rest, *hints])
        self.words |= syntax.words_of_queries(uses.texts)
        return uses

    def class_attribute(self, node: _Node, name: str, value: Any) -> None:
        held = classes.held_in(value)
        for part, each in held.items():
            self.edge(node, f"{name}{part}", each)
        if not held:
            self.edge(node, name, value)
        if isinstance(value, singledispatchmethod):
            registry = value.dispatcher.registry
            self.graph.states.append(State.of(registry, f"{name} in {node.label}"))
        if isinstance(value, partialmethod):
            self.value(node, f"{name}.args", (value.args, dict(value.keywords)))
        if isinstance(value, cached_property):
            self.untracked(f"what is set by hand in place of {name} in {node.label}")

    def visit_module(self, node: _Node) -> None:
        self.graph.states.append(Members.of(node.thing))
        for name, value in sorted(vars(node.thing).items()):
            if isinstance(value, types.ModuleType):
                if self.ownership.owns_loaded(value):
                    self.watch(node.thing, name, value)
                    self.edge(node, name, value)
            elif not _is_of_module(name):
                self.watch(node.thing, name, value)
                self.edge(node, name, value)

    # --- edges ---

    def edge(self, node: _Node, name: str, value: Any) -> None:
        """Count what a name of a node leads to."""
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        checkpoint = None if isinstance(value, types.ModuleType) else checkpoint_in(value)
        if checkpoint is not None:
            value = self.in_checkpoint(node, name, checkpoint)
        mock = mock_behind(value)
        if mock is not None:
            # One with a `spec` says that it is whatever that is.
            self.value(node, name, mock)
        elif isinstance(value, types.MethodType):
            self.edge(node, name, value.__func__)
            self.edge(node, f"{name}.self", value.__self__)
        elif isinstance(value, partial):
            self.edge(node, f"{name}.func", value.func)
            self.value(node, f"{name}.args", (value.args, dict(value.keywords)))
            self.graph.states.append(State.of(value, f"{name} in {node.label}"))
        elif isinstance(value, (types.FunctionType, type, types.ModuleType)):
            self.code_edge(node, name, value)
        elif self.is_foreign_wrapper(value):
            self.in_wrapper(node, name, value)
        elif value is MISSING or value is _REPLACED:
            node.feed(name, "missing" if value is MISSING else "checkpoint")
        else:
            self.value(node, name, value)

    def in_checkpoint(self, node: _Node, name: str, checkpoint: Any) -> Any:
        """Return the function of a checkpoint that is reached, for the walk to go on."""
        if checkpoint.__usher_function__ is self.root:
            return self.root
        self.graph.checkpoints.append(checkpoint)
        if checkpoint.__usher_instance__:
            self.value(node, f"{name}.self", checkpoint.__usher_instance__[0])
        # A stated version replaces the code; the key adds it.
        is_versioned = checkpoint.__usher_version__ is not None
        return _REPLACED if is_versioned else checkpoint.__usher_function__

    def in_wrapper(self, node: _Node, name: str, value: Any) -> None:
        """Count what an object of another library holds besides the function it wraps."""
        node.feed(name, public_name(type(value)))
        self.edge(node, f"{name}.__wrapped__", value.__wrapped__)
        if callable(held(value, "cache_clear")):
            # What functools.lru_cache makes.
            self.graph.caches.append(value)
            return
        for field, item in sorted(values.own_fields(value).items()):
            if field != "__wrapped__":
                self.edge(node, f"{name}.{field}", item)

    def is_foreign_wrapper(self, value: Any) -> bool:
        """Tell whether an object of another library stands for a function."""
        wrapped = held(value, "__wrapped__")
        return isinstance(wrapped, types.FunctionType) and not is_owned(
            type(value), self.ownership
        )

    def code_edge(self, node: _Node, name: str, value: Any) -> None:
        node.feed(name, self.name_of(value))
        self.tell_unseen(node, value)
        is_made = isinstance(value, types.FunctionType) and not self.is_of_library(value)
        if is_made or is_owned(value, self.ownership):
            node.targets.append(self.reach(value, _label(value)).number)
        elif isinstance(value, types.FunctionType):
            self.follow_wrapped(node, name, value)

    def is_of_library(self, function: types.FunctionType) -> bool:
        """Tell whether a function is one that a library has under its name."""
        is_found = importable_name(function) is not None
        return is_found and not self.ownership.owns_module(function.__module__)

    def tell_unseen(self, node: _Node, value: Any) -> None:
        """Name what a function of a library may ask, whatever it is called here."""
        name = getattr(value, "__name__", None)
        what = syntax.unseen_by(name) if isinstance(name, str) else ""
        if what and not isinstance(value, type) and not is_owned(value, self.ownership):
            self.untracked(f"{what} in {node.label}")

    def name_of(self, thing: Any) -> str:
        """Return what names a thing in the graph: a move to another file changes nothing."""
        if thing is self.root:
            return "itself"
        if isinstance(thing, types.ModuleType):
            return thing.__name__.rpartition(".")[2]
        return (
            str(thing.__qualname__) if is_owned(thing, self.ownership) else public_name(thing)
        )

    def value(self, node: _Node, name: str, value: Any) -> None:
        """Count a value that a name holds; what can not be encoded is named as untracked."""
        if isinstance(value, (logging.Logger, logging.LoggerAdapter)):
            node.feed(name, "logger")
            if is_owned(type(value), self.ownership):
                self.code_edge(node, f"{name}.class", type(value))
            return
        secret = display.is_credential(name)
        measure = values.secret_digest if secret else values.digest
        reached: list[int] = []
        held = _Held(self, f"{name} in {node.label}")
        try:
            digest = measure(
                value,
                code_of=lambda thing: self.code_in_value(node, reached, thing),
                constants=held,
            )
        except FingerprintError:
            node.feed(name, public_name(type(value)))
            self.untracked(f"{name} ({public_name(type(value))}) in {node.label}")
            fields = values.own_fields(value)
            for index, inner in enumerate(self.owned_inside(fields, 0)):
                self.edge(node, f"{name}.{index}", inner)
            return
        node.targets += reached
        held.tell()
        texts = syntax.texts_within(value, self.fields_of)
        self.words |= syntax.words_of_queries(texts)
        if not _is_fixed(value):
            digest = self.graph.counted.get(id(value), digest)
            self.graph.states.append(State.of(value, f"{name} in {node.label}", digest))
            self.graph.hold(id(value), self.holder)
        if isinstance(value, types.BuiltinFunctionType):
            self.tell_unseen(node, value)
            owner = value.__self__
            is_own = isinstance(owner, types.ModuleType) and is_owned(owner, self.ownership)
            node.feed(name, digest, classes.compiled_in(owner) if is_own else "")
        else:
            self.constant(node, name, digest, "(hidden)" if secret else display.preview(value))

    def fields_of(self, value: Any) -> Iterable[Any]:
        """Return what an object holds that is of a class of the user's, or plain data."""
        is_plain = isinstance(value, types.SimpleNamespace) or dataclasses.is_dataclass(value)
        return values.own_fields(value).values() if is_plain or self.owns_class(value) else ()

    def owns_class(self, value: Any) -> bool:
        return not isinstance(value, type) and is_owned(type(value), self.ownership)

    def code_in_value(self, node: _Node, reached: list[int], thing: Any) -> bytes:
        self.tell_unseen(node, thing)
        thing = getattr(thing, "__usher_function__", thing)
        if isinstance(thing, types.ModuleType):
            return b"module" if is_owned(thing, self.ownership) else b""
        if is_owned(thing, self.ownership):
            reached.append(self.reach(thing, _label(thing)).number)
            return self.name_of(thing).encode()
        if isinstance(thing, types.FunctionType) and not self.is_of_library(thing):
            reached.append(self.reach(thing, _label(thing)).number)
        return b"" if isinstance(thing, type) else public_name(thing).encode()

    def constant(self, node: _Node, name: str, digest: str, preview: str) -> None:
        """Keep a constant as a part of its own, so that a miss can name it."""
        node.feed(name)
        part = _Node(None, f"{name} in {node.label}", len(self.nodes))
        part.preview = preview
        part.feed(digest)
        self.nodes[id(node), name, part.number] = part
        node.targets.append(part.number)

    def stands_for(self, space: Any, name: str, found: Any) -> Any:
        """Return what a name counts as: what it is, or what it was before it was at work."""
        return self.graph.counted.get((id(space), name), found)

    def watch(self, space: Any, name: str, meant: Any) -> None:
        self.graph.hold((id(space), name), self.holder)
        watched = self.graph.names if type(space) is dict else self.graph.attributes
        if (id(space), name) not in self.watched:
            self.watched.add((id(space), name))
            watched.append((space, name, meant))

    def untracked(self, what: str) -> None:
        if what not in self.graph.untracked:
            self.graph.untracked.append(what)


# --- what classes hold ------------------------------------------------------------------


def checkpoint_in(value: Any) -> Any:
    """Return a value if it is a checkpointed function, else None."""
    function = getattr(type(value), "__usher_function__", None)
    return value if function is not None else None


def _attribute_or_submodule(module: types.ModuleType, name: str) -> Any:
    found = getattr(module, name, MISSING)
    if found is not MISSING:
        return found
    try:
        return importlib.import_module(f"{module.__name__}.{name}")
    except ImportError:
        return MISSING
