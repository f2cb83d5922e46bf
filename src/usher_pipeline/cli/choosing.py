"""What a command means by a name, a key, or a module."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from usher_pipeline.errors import UnknownResultError, UnknownTableError, UsherError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from usher_pipeline.persistence.local import LocalBackend
    from usher_pipeline.records import Entry

__all__ = [
    "checkpoint_of",
    "checkpoints_in",
    "chosen",
    "is_known",
    "key_meant",
    "printing_aside",
]


# --- results ----------------------------------------------------------------------------


def chosen(backend: LocalBackend, name: str, key: str = "") -> Entry | None:
    """Return the result that a name and the beginning of a key mean.

    Args:
        backend: The store.
        name: The checkpoint or table.
        key: The beginning of the digest of a key; the current result if empty.

    Returns:
        The entry; None if the name is that of a table that no checkpoint made.

    Raises:
        UnknownTableError: Nothing has that name.
        UnknownResultError: No result has such a key, or several have.
    """
    entries = backend.recent(name, None)
    if not entries:
        known = {*backend.names(), *backend.tables.names()}
        if name not in known:
            raise UnknownTableError(backend.path, name, known)
        if key:
            raise UnknownResultError(backend.path, name, key, [])
        return None
    if not key:
        return backend.current(name)
    fitting = [entry for entry in entries if entry.key.digest.startswith(key)]
    if len(fitting) != 1:
        known = {entry.key.digest for entry in entries}
        raise UnknownResultError(backend.path, name, key, known)
    return fitting[0]


def key_meant(backend: LocalBackend, name: str, key: str) -> Entry:
    """Return the result of a name whose key begins as is said.

    Raises:
        UnknownTableError: Nothing has that name.
        UnknownResultError: No result has such a key, or several have.
    """
    found = chosen(backend, name, key)
    if found is None:
        raise UnknownResultError(backend.path, name, key, [])
    return found


def is_known(backend: LocalBackend, name: str) -> bool:
    """Tell whether a store has anything under a name, finished or not."""
    from usher_pipeline.persistence.maps import maps_of
    from usher_pipeline.persistence.unfinished import works

    segments = backend.segments
    begun = maps_of(segments, name) or works(segments, name)
    return bool(begun) or name in {*backend.names(), *backend.tables.names()}


# --- code -------------------------------------------------------------------------------


def checkpoints_in(module: str) -> list[Any]:
    """Import a module, and return the checkpoints that it or one below it defines, by name.

    Args:
        module: Its dotted name, looked for in the working folder as well, or a file.

    Raises:
        UsherError: It can not be imported, or defines no checkpoint.
    """
    from usher_pipeline import registry

    name = _imported(module)
    found = registry.of_module(name)
    if not found:
        raise UsherError(
            f"The module {name!r} defines no checkpoint. Nothing was run. Name the module, or "
            "the package, whose functions are decorated with @checkpoint."
        )
    return found


def checkpoint_of(name: str, entry: Entry | None, module: str = "") -> Any:
    """Return the decorated function of a name, imported if need be.

    Args:
        name: The checkpoint.
        entry: A result of it, which knows what module had it; None if there is none.
        module: The module that has it now; the one that had it unless given.

    Raises:
        UsherError: It can not be imported, or has no such checkpoint.
    """
    from usher_pipeline import registry

    home = module or (registry.module_of(entry) if entry is not None else "")
    if not home:
        raise UsherError(
            f"Nothing stored says which module has the checkpoint {name!r}. Nothing was run. "
            "Give --module the one that has it."
        )
    _imported(home)
    found = registry.find(name)
    if found is None:
        raise UsherError(
            f"The module {home!r} has no checkpoint {name!r}. Nothing was run. Give --module "
            "the one that has it now."
        )
    return found


@contextmanager
def printing_aside() -> Iterator[None]:
    """Let what code of the user prints go to stderr: the output is that of the command."""
    with redirect_stdout(sys.stderr):
        try:
            yield
        finally:
            # Whoever prints expects of no stream that what stands in it is held back.
            sys.stderr.flush()


def _imported(module: str) -> str:
    """Import a module as ``python -m`` would; return its name."""
    path = Path(module)
    is_file = path.suffix == ".py"
    name = path.stem if is_file else module
    place = str(path.resolve().parent if is_file else Path.cwd())
    if place not in sys.path:
        sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        with printing_aside():
            found = importlib.import_module(name)
    # A script that ends the process would end the command with its code, as if all was told.
    except (Exception, SystemExit) as problem:
        said = f"{type(problem).__name__}: {problem}".rstrip(".")
        raise UsherError(
            f"The module {module!r} can not be imported: {said}. Nothing was run. Give its "
            "dotted name or its file, in an environment that has what it imports."
        ) from problem
    origin = getattr(found, "__file__", None)
    if is_file and (origin is None or Path(origin).resolve() != path.resolve()):
        raise UsherError(
            f"The file {module!r} can not be imported: {name!r} is another module, "
            f"{origin or 'a part of Python'}. Nothing was run. Give the file another name, or "
            "its dotted name in the package that it is part of."
        )
    return name
