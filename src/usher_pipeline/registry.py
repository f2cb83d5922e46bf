"""Which function has which name, in this process and in those that filled the store."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import inspect
import os
import sys
import weakref
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.errors import NameClashError

if TYPE_CHECKING:
    import types
    from collections.abc import Callable

    from usher_pipeline.fingerprint.binding import Declaration
    from usher_pipeline.persistence.backend import Backend
    from usher_pipeline.records import Entry

__all__ = [
    "find",
    "imported",
    "module_of",
    "of_module",
    "of_script",
    "place",
    "reduced",
    "register",
    "require_sole",
]


#: What the module is called that a process runs, and in one that `multiprocessing` spawned.
_MAIN: Final = ("__main__", "__mp_main__")


def place(function: Any) -> str:
    """Return where a function is defined, as ``module.qualname``.

    A script goes by the name that it would be imported under, so that two scripts are two
    places, and a script that is imported elsewhere is one.
    """
    module = function.__module__
    return f"{_script_name(function) if module in _MAIN else module}.{function.__qualname__}"


def _script_name(function: Any) -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = _file(function)
    # The cells of a notebook name files that are not there.
    is_script = file.endswith(".py") and os.path.isfile(file)  # noqa: PTH113 - as code has it
    return Path(file).stem if is_script else "__main__"


_registry: Final[weakref.WeakValueDictionary[str, Any]] = weakref.WeakValueDictionary()


def register(wrapped: Any) -> None:
    """Give a wrapped function its name in this process.

    Raises:
        NameClashError: Another function that is still there has it.
    """
    _refuse_other_spelling(wrapped)
    known, second = _registry.get(wrapped.name), wrapped.__wrapped__
    if known is not None and not _same(known.__wrapped__, second) and _is_bound(known):
        holder = place(known.__wrapped__)
        del known
        if _is_alive(wrapped.name):
            raise NameClashError(wrapped.name, holder, place(second))
    _registry[wrapped.name] = wrapped


def _same(first: Any, second: Any) -> bool:
    if first.__qualname__ != second.__qualname__:
        return False
    return first.__module__ == second.__module__ or _file(first) == _file(second)


def _file(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return os.path.realpath(code.co_filename) if code is not None else ""


def _refuse_other_spelling(wrapped: Any) -> None:
    """Refuse a name that differs only in case: files and tables could not tell them apart."""
    folded = wrapped.name.casefold()
    others = [n for n in _registry if n != wrapped.name and n.casefold() == folded]
    for name in others:
        if _is_alive(name):
            holder = _registry.get(name)
            mine = f"{wrapped.name!r} of {place(wrapped.__wrapped__)}"
            held_by = f"{name!r} of {place(holder.__wrapped__) if holder else 'another'}"
            raise NameClashError(wrapped.name, held_by, mine)


def _is_alive(name: str) -> bool:
    """Tell whether somebody still has the function of a name.

    A local function that is part of a cycle stays until the collector runs; whether two
    functions clash must not depend on when that was.
    """
    gc.collect()
    return name in _registry


def find(name: str) -> Any:
    """Return the wrapped function that has a name in this process, or None."""
    return _registry.get(name)


def of_module(module_name: str) -> list[Any]:
    """Return the wrapped functions that a module, or one below it, defines, by name.

    Args:
        module_name: The module, which has been imported.
    """
    places = [(each, each.__wrapped__.__module__) for each in list(_registry.values())]
    below = f"{module_name}."
    found = [each for each, home in places if home == module_name or home.startswith(below)]
    return sorted(found, key=lambda each: str(each.name))


def module_of(entry: Entry) -> str:
    """Return the module of the function that made an entry, as far as its name tells."""
    return _split(entry.function)[0]


def imported_for(entry: Entry) -> Any:
    """Return the wrapped function that made an entry, imported if that can be done.

    It is asked for where a function called it through a name at run time, and would import
    it as well.
    """
    module_name, _, _ = _split(entry.function)
    try:
        importlib.import_module(module_name)
    except Exception:  # noqa: BLE001 - a module may raise anything while it is imported
        return None
    return find(entry.name)


def require_sole(declared: Declaration, backend: Backend, name: str = "") -> None:
    """Refuse a name that another function, still there, has results under.

    Args:
        declared: The function that asks.
        backend: The store.
        name: The name; its own unless given.

    Raises:
        NameClashError: Such a function made the newest of them.
    """
    name = name or declared.name
    latest = next(iter(backend.recent(name)), None)
    mine = place(declared.function)
    holder = _registry.get(name)
    if name != declared.name and holder is not None:
        raise NameClashError(name, place(holder.__wrapped__), mine)
    if latest is None or latest.function == mine:
        return
    others = [each for each in _registry.values() if place(each.__wrapped__) == latest.function]
    if any(_names(each.name, latest) for each in others):
        raise NameClashError(name, latest.function, mine)
    if _still_defined(latest, declared.function):
        raise NameClashError(name, latest.function, mine)


def _is_bound(wrapped: Any) -> bool:
    """Tell whether a wrapped function is still what its module has under its name."""
    module = sys.modules.get(wrapped.__wrapped__.__module__)
    found: Any = module
    for step in wrapped.__wrapped__.__qualname__.split("."):
        if step == "<locals>":
            return True
        found = getattr(found, step, None)
    return found is wrapped or getattr(found, "_declared", None) is wrapped._declared  # noqa: SLF001


def _still_defined(entry: Entry, mine: Any) -> bool:
    """Tell whether the function that made an entry exists besides the one that asks."""
    module_name, _, qualname = _split(entry.function)
    if module_name == "__main__" or "<locals>" in qualname:
        return False
    module = sys.modules.get(module_name)
    if module is None:
        return _is_in_source(module_name, qualname, mine)
    found: Any = module
    for step in qualname.split("."):
        found = getattr(found, step, None)
    is_checkpoint = hasattr(type(found), "__usher_function__")
    return is_checkpoint and _names(found.name, entry) and not _same(found.__wrapped__, mine)


def _names(name: str, entry: Entry) -> bool:
    """Tell whether a checkpoint of a name stores under the name of an entry."""
    return entry.name == name or entry.name.startswith(f"{name}__")


def _split(function: str) -> tuple[str, str, str]:
    """Split ``package.module.Class.method`` where the module ends."""
    steps = function.split(".")
    for count in range(len(steps) - 1, 0, -1):
        name = ".".join(steps[:count])
        if name in sys.modules or _spec(name) is not None:
            return name, ".", ".".join(steps[count:])
    return function.rpartition(".")


def _spec(module_name: str) -> Any:
    try:
        return importlib.util.find_spec(module_name)
    except (ImportError, ValueError, AttributeError):
        return None


def _is_in_source(module_name: str, qualname: str, mine: Any) -> bool:
    """Look for a definition without importing the module: that could do anything."""
    import ast

    spec = _spec(module_name)
    origin = getattr(spec, "origin", None)
    if not origin or os.path.realpath(origin) == _file(mine):
        return False
    try:
        body: list[ast.stmt] = ast.parse(Path(origin).read_text("utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return False
    for step in qualname.split("."):
        named = [n for n in body if getattr(n, "name", None) == step]
        if not named:
            return False
        body = getattr(named[-1], "body", [])
    return True


def reduced(function: Any) -> tuple[Callable[..., Any], tuple[str, ...]]:
    """Return how a wrapped function is pickled: by where it is found.

    Args:
        function: The function that it wraps.
    """
    module = function.__module__
    script = _file_of_script() if module in _MAIN else ""
    if script:
        # Not every process in which it is called has the same main module: joblib's have not.
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        return of_script, (script, spec.name if spec else "", function.__qualname__)
    return imported, (module, function.__qualname__)


def imported(module_name: str, qualname: str) -> Any:
    """Return what a module has under a name."""
    return _within(importlib.import_module(module_name), qualname)


def of_script(path: str, module_name: str, qualname: str) -> Any:
    """Return what a script has under a name, loaded as a module where it is not what runs.

    Args:
        path: The file of the script.
        module_name: The module that it is, if it was run as one.
        qualname: The name.
    """
    if _file_of_script() == path:
        return _within(sys.modules["__main__"], qualname)
    if module_name:
        return imported(module_name, qualname)
    return _within(_loaded(path), qualname)


@cache
def _loaded(path: str) -> types.ModuleType:
    # As `multiprocessing` does for the processes that it spawns.
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"the script {path!r} can not be loaded", path=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(spec.name, module)
    spec.loader.exec_module(module)
    return module


def _file_of_script() -> str:
    """Return the file that runs as the main module; empty if it is none."""
    file = getattr(sys.modules["__main__"], "__file__", None) or ""
    return os.path.realpath(file) if file.endswith(".py") else ""


def _within(module: Any, qualname: str) -> Any:
    found = module
    for step in qualname.split("."):
        found = getattr(found, step)
    return found
