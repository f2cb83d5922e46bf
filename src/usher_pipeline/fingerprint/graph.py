"""What the walk over code found, and whether all of it is still so.

Every name that was followed is remembered with what it meant, and every value that can
change in place with its digest: a later call asks in microseconds.
"""

from __future__ import annotations

import types
import weakref
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from usher_pipeline.errors import FingerprintError
from usher_pipeline.fingerprint import values

if TYPE_CHECKING:
    from pathlib import PurePath

    from usher_pipeline.records import Part

__all__ = ["MISSING", "CodeGraph", "Members", "State", "held", "live_digest", "look_up"]

#: What a name leads to that is not there.
MISSING: Final = object()

#: A name that was followed: where it was looked up, its spelling, and what it meant.
_Binding: TypeAlias = tuple[Any, str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """A value that can change in place, and the digest that it had."""

    value: Any
    digest: str

    def holds(self) -> bool:
        """Tell whether it still has that digest."""
        return live_digest(self.value) == self.digest


@dataclass(frozen=True, slots=True)
class Members:
    """The names that a class or module has; another one may come to stand before a base's."""

    space: Any
    names: tuple[str, ...]

    @classmethod
    def of(cls, space: Any) -> Members:
        """Return the names that a class or module has now."""
        return cls(space, tuple(vars(space)))

    @property
    def value(self) -> None:
        """Nothing that could hold a file."""

    def holds(self) -> bool:
        """Tell whether it has just these names still."""
        return tuple(vars(self.space)) == self.names


@dataclass(slots=True)
class CodeGraph:
    """All the code that a function reaches.

    Attributes:
        parts: One part per thing reached, the function itself first.
        digest: The digest of them all and of how they hang together; file names and
            module names do not enter it.
        untracked: What is reached and not watched, in words.
        checkpoints: The checkpointed functions that are reached.
        loaded: How many modules were loaded when the walk began.
        names: The names that were followed in the globals of modules.
        attributes: Those that were followed elsewhere.
        functions: The functions that were reached, each with its code and defaults.
        states: The values that can change in place.
        caches: The functions that remember what they returned, which may be out of date.
    """

    parts: list[Part] = field(default_factory=list)
    digest: str = ""
    untracked: list[str] = field(default_factory=list)
    checkpoints: list[Any] = field(default_factory=list)
    loaded: int = 0
    names: list[_Binding] = field(default_factory=list)
    attributes: list[_Binding] = field(default_factory=list)
    functions: list[tuple[Any, Any, Any, Any]] = field(default_factory=list)
    states: list[State | Members] = field(default_factory=list)
    caches: list[Any] = field(default_factory=list)

    def is_current(self) -> bool:
        """Tell whether every name still means what it meant and nothing changed in place."""
        # This is on the way of every call: loops without a call for each name.
        for space, name, meant in self.names:
            if space.get(name, MISSING) is not meant:
                return False
        for function, code, defaults, kwdefaults in self.functions:
            found: Any = function() if type(function) is weakref.ref else function
            if (
                found.__code__ is not code
                or found.__defaults__ is not defaults
                or found.__kwdefaults__ is not kwdefaults
            ):
                return False
        for space, name, meant in self.attributes:
            if look_up(space, name) is not meant:
                return False
        return all(state.holds() for state in self.states)


# --- looking things up ------------------------------------------------------------------


def held(value: Any, name: str) -> Any:
    """Return an attribute, or None; a foreign object may raise anything when asked."""
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - it is not ours
        return None


def look_up(space: Any, name: str) -> Any:
    """Return what a name leads to in globals, a cell, a class or an object, or `MISSING`."""
    if type(space) is weakref.ref:
        space = space()
    if type(space) is dict:
        return space.get(name, MISSING)
    if type(space) is types.CellType:
        try:
            return space.cell_contents
        except ValueError:
            return MISSING
    if isinstance(space, type):
        return space.__dict__.get(name, MISSING)
    found = held(space, name)
    return found if found is not None or hasattr(space, name) else MISSING


def live_digest(value: Any) -> str:
    """Return a digest that holds in this process only: code counts by identity."""
    try:
        return values.digest(
            value, code_of=lambda thing: id(thing).to_bytes(8, "little"), constants=_LIVE
        )
    except FingerprintError:
        return "no digest"


class _Live:
    """How a constant counts while it is watched for changes: as it is."""

    def unknown(self, path: str, kind: str) -> None:
        pass

    def place(self, path: PurePath) -> str:
        return str(path)


_LIVE: Final = _Live()
