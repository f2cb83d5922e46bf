"""Which function has which name, in this process and in those that filled the store."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import inspect
import os
import sys
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.errors import NameClashError

if TYPE_CHECKING:
    from usher_pipeline.fingerprint.binding import Declaration
    from usher_pipeline.persistence.backend import Backend
    from usher_pipeline.records import Entry

__all__ = ["find", "imported", "place", "register", "require_sole"]


def place(function: Any) -> str:
    """Return where a function is defined, as ``module.qualname``.

    A script goes by the name that it would be imported under, so that two scripts are two
    places, and a script that is imported elsewhere is one.
    """
    module = function.__module__
    return (
        f"{_script_name(function) if module == '__main__' else module}.{function.__qualname__}"
    )


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


def imported(module_name: str, qualname: str) -> Any:
    """Return what a module has under a name; so a wrapped function is pickled."""
    found: Any = importlib.import_module(module_name)
    for step in qualname.split("."):
        found = getattr(found, step)
    return found
