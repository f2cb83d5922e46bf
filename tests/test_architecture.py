"""The rooms and their order: who may import whom, read from the source itself.

The tables at the top are the architecture; the rules below them read the syntax tree of
every module, so that an import inside a function counts as well.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import usher_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE: Final = "usher_pipeline"
SOURCE: Final = Path(usher_pipeline.__file__).parent

#: The rooms. A room imports from its own rank and from below.
RANKS: Final = {
    "_version": 0,
    "errors": 0,
    "durations": 1,
    "inherited": 1,
    "standins": 1,
    "records": 1,
    "workers": 1,
    "hiding": 1,
    "interrupts": 1,
    "display": 1,
    "views": 1,
    "cells": 2,
    "planning": 2,
    "probes": 2,
    "frames": 2,
    "fingerprint": 3,
    "config": 4,
    "persistence": 5,
    "calls": 6,
    "decorator": 6,
    "dispatching": 6,
    "exporting": 6,
    "facts": 6,
    "freshness": 6,
    "failures": 6,
    "reading": 6,
    "recall": 6,
    "results": 6,
    "accepting": 6,
    "adopting": 6,
    "awaiting": 6,
    "resuming": 6,
    "returned": 6,
    "registry": 6,
    "stored": 6,
    "mapping": 6,
    "outdating": 6,
    "spreading": 6,
    "asking": 6,
    "harvesting": 6,
    "runs": 6,
    "saying": 6,
    "progress": 6,
    "testing": 7,
    "pytest_plugin": 7,
    "notebook": 7,
    "cli": 7,
    "demo": 7,
    "__init__": 8,
    "__main__": 8,
}

#: Which module may load which library. A library that is not named may not be used.
#: Imports for type checkers alone cost nothing and are free for the libraries named here.
LIBRARIES: Final = {
    "IPython": ("notebook.py", "progress.py"),
    "click": ("cli.py", "cli/*.py"),
    "duckdb": ("frames/relations.py", "persistence/engine.py"),
    "filelock": ("persistence/flights.py",),
    "numpy": ("fingerprint/*.py", "frames/*.py"),
    "pandas": ("frames/pandas_*.py", "persistence/tablefiles.py"),
    "polars": (
        "demo/*.py",
        "frames/polars_*.py",
        "persistence/conversion.py",
        "persistence/duckdb_store.py",
        "persistence/tablefiles.py",
    ),
    "pyarrow": ("fingerprint/*.py", "frames/*.py", "persistence/*.py"),
    "pydantic": ("config/schema.py",),
    "pytest": ("pytest_plugin.py",),
    "pytz": ("frames/pandas_types.py",),
    "rich": ("cli.py", "cli/*.py", "display.py", "notebook.py", "progress.py"),
    "tenacity": ("dispatching.py",),
    "xxhash": ("fingerprint/*.py", "persistence/tables.py"),
    "yaml": ("config/loader.py",),
}
#: Formats that run code when they are read, or tie stored data to the code of a day.
PICKLERS: Final = frozenset(("cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"))
#: Places that the library knows nothing of.
OUTSIDE: Final = frozenset(("benchmarks", "conftest", "docs", "noxfile", "tests"))
#: How a module of ours looks where it is named in text.
OWN_MODULE: Final = re.compile(rf"{PACKAGE}(\.\w+)+")
#: Names of modules under which anything could be put.
VAGUE: Final = frozenset(("common", "helper", "helpers", "misc", "util", "utils"))


#: What imports nothing while its module is imported.
_LATER: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Constant)


# --- reading the source -----------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    """One import statement's target.

    Attributes:
        target: The module, or for ``from … import`` the name in it, in full.
        line: Where it stands.
        early: Whether importing the module runs it.
        typing: Whether only type checkers see it.
    """

    target: str
    line: int
    early: bool
    typing: bool


@dataclass(frozen=True)
class Module:
    """One source file.

    Attributes:
        path: Where it lies inside the package, such as ``frames/contract.py``.
        tree: Its syntax.
    """

    path: str
    tree: ast.Module

    @cached_property
    def name(self) -> str:
        """Its dotted name; a folder's is that of its ``__init__.py``."""
        parts = [PACKAGE, *self.path.removesuffix(".py").split("/")]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def stem(self) -> str:
        """Its own name, without the folders above it."""
        return self.name.rpartition(".")[2]

    @property
    def room(self) -> str:
        """The room that it lies in."""
        return self.path.split("/")[0].removesuffix(".py")

    @cached_property
    def imports(self) -> tuple[Import, ...]:
        """Everything that it imports, at whatever depth."""
        return tuple(self._walk(self.tree, early=True, typing=False))

    @cached_property
    def exports(self) -> list[str] | None:
        """Its ``__all__``, if it states one as a literal list."""
        for node in self.tree.body:
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names))
                    | ast.AnnAssign(target=ast.Name(id="__all__"), value=ast.List(elts=names))
                ) if all(isinstance(name, ast.Constant) for name in names):
                    return [ast.literal_eval(name) for name in names]
        return None

    def _walk(self, node: ast.AST, *, early: bool, typing: bool) -> Iterator[Import]:
        early = early and not isinstance(node, _LATER)
        for target in self._targets(node):
            yield Import(target, getattr(node, "lineno", 0), early, typing)
        for field, value in ast.iter_fields(node):
            # What an `else` holds is for everybody.
            unseen = field == "body" and is_for_type_checkers(node)
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self._walk(child, early=early, typing=typing or unseen)

    def _targets(self, node: ast.AST) -> Iterator[str]:
        """Return what one piece of syntax imports."""
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(names=names):
                yield from (f"{self._origin(node)}.{alias.name}" for alias in names)
            case ast.Call(func=func, args=[ast.Constant(value=str(target)), *_]) if ast.unparse(
                func
            ).rpartition(".")[2] in ("import_module", "__import__"):
                yield target
            case ast.Constant(value=str(target)) if OWN_MODULE.fullmatch(target):
                # A name in a table of modules to load is an import in all but form.
                yield target

    def _origin(self, node: ast.ImportFrom) -> str:
        """Return the module that a ``from … import`` names, dots in front resolved."""
        if not node.level:
            return node.module or ""
        own = [PACKAGE, *self.path.split("/")[:-1]]
        return ".".join([*own[: len(own) - node.level + 1], *filter(None, [node.module])])


def is_for_type_checkers(node: ast.AST) -> bool:
    """Tell whether a piece of syntax is ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def read(folder: Path) -> list[Module]:
    """Return every module of a source tree."""
    return [
        Module(path.relative_to(folder).as_posix(), ast.parse(path.read_text("utf-8")))
        for path in sorted(folder.rglob("*.py"))
    ]


def ours(module: Module) -> Iterator[Import]:
    """Return what a module imports from this package."""
    return (each for each in module.imports if is_under(each.target, PACKAGE))


def theirs(module: Module) -> Iterator[tuple[str, Import]]:
    """Return which libraries a module imports from elsewhere, with the import."""
    for each in module.imports:
        if not is_under(each.target, PACKAGE):
            yield each.target.partition(".")[0], each


def is_under(name: str, parent: str) -> bool:
    """Tell whether a dotted name is another, or lies in it."""
    return name == parent or name.startswith(f"{parent}.")


def room_of(target: str, modules: list[Module]) -> str:
    """Return the room that an imported name of ours comes from."""
    first = target.removeprefix(PACKAGE).lstrip(".").partition(".")[0]
    rooms = {module.room for module in modules} | RANKS.keys()
    return first if first in rooms else "__init__"


def module_of(target: str, modules: list[Module]) -> str:
    """Return the module that an imported name of ours is, or is defined in."""
    names = {module.name for module in modules}
    while target not in names and "." in target:
        target = target.rpartition(".")[0]
    return target


# --- the rules --------------------------------------------------------------------------


def rooms_without_rank(modules: list[Module]) -> list[str]:
    """Find rooms that the table does not know."""
    return sorted({f"{m.room} has no rank" for m in modules if m.room not in RANKS})


def upward_imports(modules: list[Module]) -> list[str]:
    """Find imports from a higher room; for type checkers alone they are no better."""
    return [
        f"{module.path}:{each.line}: {module.room} imports {room}, which is higher"
        for module in modules
        for each in ours(module)
        if RANKS.get(room := room_of(each.target, modules), 0) > RANKS.get(module.room, 0)
    ]


def import_cycles(modules: list[Module]) -> list[str]:
    """Find circles of modules that run each other while they are imported."""
    graph = {
        module.name: {
            target
            for each in ours(module)
            if each.early and not each.typing
            if (target := module_of(each.target, modules)) != module.name
        }
        for module in modules
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"a circle of imports: {' ← '.join(error.args[1])}"]
    return []


def misplaced_libraries(modules: list[Module]) -> list[str]:
    """Find libraries that are used where the table does not have them."""
    return [
        f"{module.path}:{each.line}: {library} may not be imported here"
        for module in modules
        for library, each in theirs(module)
        if library not in sys.stdlib_module_names | PICKLERS | OUTSIDE
        if not (each.typing and library in LIBRARIES)
        if not any(fnmatch(module.path, place) for place in LIBRARIES.get(library, ()))
    ]


def picklers(modules: list[Module]) -> list[str]:
    """Find libraries that pickle; a type checker's import is one too many."""
    return [
        f"{module.path}:{each.line}: {library} is never used"
        for module in modules
        for library, each in theirs(module)
        if library in PICKLERS
    ]


def outside_imports(modules: list[Module]) -> list[str]:
    """Find imports of what is not shipped."""
    return [
        f"{module.path}:{each.line}: {place} is not part of the package"
        for module in modules
        for place, each in theirs(module)
        if place in OUTSIDE
    ]


def vague_names(modules: list[Module]) -> list[str]:
    """Find modules whose name would take in anything."""
    return [f"{m.path}: {m.stem} says nothing" for m in modules if m.stem.strip("_") in VAGUE]


def shadowing_names(modules: list[Module]) -> list[str]:
    """Find modules named like what they define, or like what their folder hands out.

    One name would then be a module or a function, whichever was imported last.
    """
    problems = [
        f"{module.path}: it defines {module.stem}"
        for module in modules
        if any(getattr(node, "name", "") == module.stem for node in module.tree.body)
    ]
    exported = {(module.name, name) for module in modules for name in module.exports or ()}
    return problems + [
        f"{module.path}: {parent} exports {stem}"
        for module in modules
        for parent, _, stem in [module.name.rpartition(".")]
        if (parent, stem) in exported
    ]


def unsorted_exports(modules: list[Module]) -> list[str]:
    """Find public modules that do not say, or not in order, what is public."""
    problems = []
    for module in modules:
        if module.exports is not None and module.exports != sorted(module.exports, key=order):
            problems.append(f"{module.path}: __all__ is not sorted")
        if module.exports is None and has_content(module):
            problems.append(f"{module.path}: it has no literal __all__")
    return problems


def order(name: str) -> tuple[bool, bool, str]:
    """Return where a name stands: constants, then classes, then the rest."""
    return not name.isupper(), not name[0].isupper(), name


def has_content(module: Module) -> bool:
    """Tell whether a module is public and more than a docstring."""
    private = any(part.startswith("_") for part in module.name.split("."))
    return not private and len(module.tree.body) > (ast.get_docstring(module.tree) is not None)


RULES: Final = (
    rooms_without_rank,
    upward_imports,
    import_cycles,
    misplaced_libraries,
    picklers,
    outside_imports,
    vague_names,
    shadowing_names,
    unsorted_exports,
)


@pytest.mark.parametrize("rule", RULES)
def test_the_source_keeps_the_rule(rule: Callable[[list[Module]], list[str]]) -> None:
    """Nothing in the package breaks a rule of its architecture."""
    assert rule(read(SOURCE)) == []


def test_the_source_is_read() -> None:
    """The rules see the package: its modules, and what they import."""
    planning = next(module for module in read(SOURCE) if module.path == "planning.py")
    assert "usher_pipeline.records.Decision" in [each.target for each in planning.imports]


# --- the rules can fail -----------------------------------------------------------------

#: A small package that breaks nothing, which each case below spoils in one way.
SOUND: Final = {
    "__init__.py": '"""Door."""\n__all__ = ["go"]\ndef go(): from usher_pipeline import cli\n',
    "errors.py": '__all__ = ["LIMIT", "UsherError", "nearest"]\n',
    "records.py": "from usher_pipeline.errors import UsherError\n__all__ = []\n",
    "frames/__init__.py": '"""Frames."""\n',
    "frames/contract.py": "from . import polars_frames\n__all__ = []\n",
    "frames/polars_frames.py": "import polars\n__all__ = []\n",
    "cli.py": "import click\nimport usher_pipeline.frames.contract\n__all__ = []\n",
}
TYPING: Final = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
SPOILED: Final = [
    ("attic.py", "", "attic has no rank"),
    ("errors.py", "import usher_pipeline.records", "errors.py:1: errors imports records"),
    ("errors.py", "def f():\n    from .frames import x", "errors.py:2: errors imports frames"),
    ("errors.py", f"{TYPING}from .cli import C", "errors.py:3: errors imports cli"),
    ("errors.py", "HOMES = {'C': 'usher_pipeline.cli'}", "errors.py:1: errors imports cli"),
    ("cli.py", "from usher_pipeline import go", "cli.py:1: cli imports __init__"),
    ("cli.py", "import usher_pipeline", "cli.py:1: cli imports __init__"),
    ("frames/polars_frames.py", "from .contract import x", "a circle of imports: "),
    ("frames/__init__.py", "from . import contract\nx = 1\n__all__ = []", ""),
    ("records.py", "import duckdb", "records.py:1: duckdb may not"),
    ("records.py", "def f():\n    import polars as pl", "records.py:2: polars may not"),
    ("records.py", "import importlib as i\ni.import_module('yaml')", "records.py:2: yaml may"),
    (
        "errors.py",
        "import importlib as i\ni.import_module('usher_pipeline.cli')",
        "errors.py:2",
    ),
    ("errors.py", "def f():\n    import usher_pipeline.cli\n", "errors.py:2: errors imports"),
    ("records.py", f"{TYPING}x = 1\nelse:\n    import yaml", "records.py:5: yaml may not"),
    ("records.py", "import tqdm", "records.py:1: tqdm may not"),
    ("records.py", f"{TYPING}import tqdm", "records.py:3: tqdm may not"),
    ("records.py", f"{TYPING}import polars\n__all__ = []", ""),
    ("records.py", "def f():\n    import pickle", "records.py:2: pickle is never"),
    ("records.py", f"{TYPING}from joblib import hash", "records.py:3: joblib is never"),
    ("records.py", "from tests.conftest import x", "records.py:1: tests is not part"),
    ("frames/_utils.py", "", "frames/_utils.py: _utils says nothing"),
    ("records.py", "def records(): ...", "records.py: it defines records"),
    ("frames/__init__.py", "__all__ = ['contract']", "usher_pipeline.frames exports contract"),
    ("records.py", "'''Doc.'''\nx = 1", "records.py: it has no literal __all__"),
    ("records.py", "__all__ = [*RANKS]", "records.py: it has no literal __all__"),
    ("records.py", "__all__ = ['b', 'a']", "records.py: __all__ is not sorted"),
]


def problems_in(folder: Path, files: dict[str, str]) -> list[str]:
    """Return what the rules find in a package of these files."""
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, "utf-8")
    modules = read(folder)
    return [problem for rule in RULES for problem in rule(modules)]


def test_a_sound_package_has_no_problem(tmp_path: Path) -> None:
    """A package that keeps the rules is not complained of."""
    assert problems_in(tmp_path, SOUND) == []


@pytest.mark.parametrize(("path", "text", "problem"), SPOILED)
def test_a_broken_rule_is_found(path: str, text: str, problem: str, tmp_path: Path) -> None:
    """One spoiled module is found out, and told with its place; a sound one is not."""
    found = problems_in(tmp_path, SOUND | {path: text})
    assert bool(problem) == bool(found)
    assert problem in "\n".join(found)
