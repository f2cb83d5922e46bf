"""Which code is first-party: the code whose edits have to count.

First-party is the top-level package that defines the function, wherever it is
installed; whatever lies in the project of the function or of the working folder, or
elsewhere, outside virtual environments and beside no distribution; and the packages that
the user names.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["Ownership"]

_LIBRARY: Final = "usher_pipeline"


@dataclass(frozen=True, slots=True)
class Ownership:
    """The rule for one function.

    Attributes:
        package: The top-level package of the function.
        roots: The folders of the projects whose code counts.
        named: Packages that the user declared.
    """

    package: str
    roots: tuple[str, ...]
    named: frozenset[str] = frozenset()
    _hash: int = field(init=False, compare=False, repr=False, default=0)

    def __post_init__(self) -> None:
        # It is looked up at every call.
        object.__setattr__(self, "_hash", hash((self.package, self.roots, self.named)))

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def of(cls, function: Any, project: str, named: frozenset[str] = frozenset()) -> Ownership:
        """Return the rule for a function.

        Args:
            function: The function that is checkpointed.
            project: The root of the project that the working folder lies in.
            named: Packages that the user declared.
        """
        module = getattr(function, "__module__", None) or "__main__"
        file = getattr(getattr(function, "__code__", None), "co_filename", "")
        return _rule(module, file, project, named)

    def places(self) -> Iterator[str]:
        """Yield the folders that code of the user's lies in, the innermost first."""
        package = sys.modules.get(self.package)
        file = getattr(package, "__file__", None)
        if file:
            inside = os.path.dirname(os.path.abspath(file))
            is_package = hasattr(package, "__path__")
            yield os.path.dirname(inside) if is_package else inside
        yield from sorted(self.roots, key=len, reverse=True)

    def owns_module(self, name: str | None, file: str | None = None) -> bool:
        """Tell whether a module is first-party."""
        top = (name or "").partition(".")[0]
        if top == _LIBRARY and self.package != _LIBRARY:
            return False
        if top == self.package or top in self.named or top == "__main__":
            return True
        if file is None or file.startswith("<"):
            # Frozen and generated code names no file; the module that holds it may.
            file = getattr(sys.modules.get(name or ""), "__file__", None)
        return file is not None and self.owns_file(file)

    def owns_file(self, file: str) -> bool:
        """Tell whether a file lies in one of the projects, or where nobody installs any."""
        path = os.path.abspath(file)
        if _is_installed(path):
            return False
        inside = any(path.startswith(root.rstrip(os.sep) + os.sep) for root in self.roots)
        return inside or _is_loose(path)

    def owns(self, thing: Any) -> bool:
        """Tell whether a function or class is first-party."""
        # What is written in C, or has a metaclass, may answer anything when asked.
        code = None if isinstance(thing, type) else getattr(thing, "__code__", None)
        module = getattr(thing, "__module__", None)
        if isinstance(thing, type):
            if module == "types" and "__dataclass_fields__" in vars(thing):
                # Made by a call of make_dataclass, which nobody but the user makes.
                return True
            # What was run from a text or a file without being imported; its methods tell.
            written = [f for f in vars(thing).values() if isinstance(f, FunctionType)]
            if any("__name__" not in function.__globals__ for function in written):
                return True
            if module not in sys.modules and written:
                code = written[0].__code__
        file = code.co_filename if isinstance(code, CodeType) else None
        return self.owns_module(module if isinstance(module, str) else None, file)

    def owns_loaded(self, module: ModuleType) -> bool:
        """Tell whether a module object is first-party."""
        return self.owns_module(module.__name__, getattr(module, "__file__", None))


@lru_cache(maxsize=4096)
def _rule(module: str, file: str, project: str, named: frozenset[str]) -> Ownership:
    own_root = _project_of(file) if os.path.isabs(file) else ""
    roots = tuple(dict.fromkeys(root for root in (project, own_root) if root))
    return Ownership(module.partition(".")[0], roots, named)


@lru_cache(maxsize=1024)
def _project_of(file: str) -> str:
    """Return the nearest folder upward with a project marker, else the file's own folder."""
    start = folder = os.path.dirname(os.path.abspath(file))
    while True:
        if any(
            os.path.exists(os.path.join(folder, mark)) for mark in ("pyproject.toml", ".git")
        ):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return start
        folder = parent


@lru_cache(maxsize=4096)
def _is_installed(path: str) -> bool:
    """Tell whether a file belongs to the interpreter or to an environment."""
    if f"{os.sep}site-packages{os.sep}" in path or f"{os.sep}dist-packages{os.sep}" in path:
        return True
    standard = sysconfig.get_paths()["stdlib"] + os.sep
    return path.startswith(standard) or _in_environment(os.path.dirname(path))


@lru_cache(maxsize=4096)
def _is_loose(path: str) -> bool:
    """Tell whether a file is a source that no installer put there.

    Somebody put its folder on the search path, as notebooks do with the code beside them.
    """
    return os.path.isfile(path) and not _has_distributions(os.path.dirname(path))


@lru_cache(maxsize=4096)
def _has_distributions(folder: str) -> bool:
    """Tell whether distributions are installed into a folder, or into one around it."""
    try:
        if any(name.endswith(".dist-info") for name in os.listdir(folder)):
            return True
    except OSError:
        return True
    parent = os.path.dirname(folder)
    return parent != folder and _has_distributions(parent)


@lru_cache(maxsize=4096)
def _in_environment(folder: str) -> bool:
    if os.path.exists(os.path.join(folder, "pyvenv.cfg")):
        return True
    parent = os.path.dirname(folder)
    return parent != folder and _in_environment(parent)
