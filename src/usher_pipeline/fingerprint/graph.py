"""What the walk over code found, and whether all of it is still so.

Every name that was followed is remembered with what it meant, and every value that can
change in place with its digest: a later call asks in microseconds.
"""

from __future__ import annotations

import threading
import types
import weakref
from abc import get_cache_token
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from usher_pipeline.errors import FingerprintError
from usher_pipeline.fingerprint import values
from usher_pipeline.fingerprint.classes import registered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import PurePath

    from usher_pipeline.records import Part

__all__ = [
    "MISSING",
    "CodeGraph",
    "Members",
    "Registered",
    "State",
    "Work",
    "held",
    "live_digest",
    "look_up",
]

#: What a name leads to that is not there.
MISSING: Final = object()

#: What identifies a value in this process, or a name in its space.
_Place: TypeAlias = "int | tuple[int, str]"
#: Identity → what has it, while that is alive: afterwards something else may get it.
_Holders: TypeAlias = "dict[int, weakref.ref[Any]]"
#: A name that was followed: where it was looked up, its spelling, and what it meant.
_Binding: TypeAlias = tuple[Any, str, Any]


@dataclass(slots=True)
class State:
    """A value that can change in place: the digest that it had, and what it is called."""

    value: Any
    digest: str
    label: str = ""
    #: What stands for it in the digest of the graph.
    counted: str = ""

    @classmethod
    def of(cls, value: Any, label: str, counted: str = "") -> State:
        """Return the state that a value has now."""
        return cls(value, live_digest(value), label, counted)

    def holds(self) -> bool:
        """Tell whether it still has that digest."""
        return live_digest(self.value) == self.digest

    def renew(self) -> bool:
        """Take the digest that it has now for its own; tell whether that is another one."""
        now = live_digest(self.value)
        is_other, self.digest = now != self.digest, now
        return is_other


@dataclass(slots=True)
class Members:
    """The names that a class or module has; another one may come to stand before a base's."""

    space: Any
    names: tuple[str, ...]

    @classmethod
    def of(cls, space: Any) -> Members:
        """Return the names that something has now."""
        return cls(space, tuple(vars(space)))

    @property
    def value(self) -> None:
        """Nothing that could hold a file."""

    @property
    def label(self) -> str:
        """What it is called."""
        return str(getattr(self.space, "__qualname__", self.space.__name__))

    def holds(self) -> bool:
        """Tell whether it has just these names still."""
        return tuple(vars(self.space)) == self.names

    def new(self) -> set[str]:
        """Return the names that came since."""
        return set(vars(self.space)) - set(self.names)

    def renew(self) -> bool:
        """Take the names that it has now for its own; tell whether they are others."""
        now = tuple(vars(self.space))
        is_other, self.names = now != self.names, now
        return is_other


@dataclass(slots=True)
class Registered:
    """What is registered with an abstract class; that leaves no trace in the class itself."""

    cls: type
    known: set[type]
    #: Another one as soon as anything is registered anywhere: a call looks at that alone.
    token: object

    @classmethod
    def of(cls, abstract: type) -> Registered:
        """Return what is registered now."""
        token = get_cache_token()
        return cls(abstract, set(registered(abstract)), token)

    @property
    def value(self) -> None:
        """Nothing that could hold a file."""

    @property
    def label(self) -> str:
        """What it is called."""
        return f"what is registered with {self.cls.__qualname__}"

    def holds(self) -> bool:
        """Tell whether it is the same still."""
        token = get_cache_token()
        if token != self.token:
            if set(registered(self.cls)) != self.known:
                return False
            self.token = token
        return True

    def renew(self) -> bool:
        """Take what is registered now for its own; tell whether that is something else."""
        self.token = get_cache_token()
        now = set(registered(self.cls))
        is_other, self.known = now != self.known, now
        return is_other


@dataclass(slots=True)
class Work:
    """The calls of a function that are at work.

    Attributes:
        count: How many there are.
        changes: How often one began or ended; who looks at a graph looks again if that
            changed meanwhile.
    """

    count: int = 0
    changes: int = 0


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
        functions: The functions that were reached, each with its code, its defaults, and
            how many attributes it has.
        states: The values that can change in place.
        caches: The functions that remember what they returned, which may be out of date.
        work: The calls of the function that are at work; the same for all graphs of it, of
            which a later one replaces an earlier.
        stores: The names that the code itself gives other meanings.
        holders: The functions, classes and modules that hold a name or a value, by their
            identity, so that none of them is kept.
        counted: What a name stood for in the digest, where that was not what it is now.
    """

    parts: list[Part] = field(default_factory=list)
    digest: str = ""
    untracked: list[str] = field(default_factory=list)
    checkpoints: list[Any] = field(default_factory=list)
    loaded: int = 0
    names: list[_Binding] = field(default_factory=list)
    attributes: list[_Binding] = field(default_factory=list)
    functions: list[tuple[Any, Any, Any, Any, int]] = field(default_factory=list)
    states: list[State | Members | Registered] = field(default_factory=list)
    caches: list[Any] = field(default_factory=list)
    work: Work = field(default_factory=Work)
    stores: set[str] = field(default_factory=set)
    holders: dict[_Place, _Holders] = field(default_factory=dict)
    counted: dict[_Place, Any] = field(default_factory=dict)

    def hold(self, place: _Place, holder: Any) -> None:
        """Note that a function, class or module holds a name or a value."""
        self.holders.setdefault(place, {})[id(holder)] = weakref.ref(holder)

    def is_current(self) -> bool:
        """Tell whether every name still means what it meant and nothing changed in place."""
        # This is on the way of every call: loops without a call for each name.
        for space, name, meant in self.names:
            try:
                now = space[name]
            except KeyError:
                now = MISSING
            if now is not meant and self._counts_now(name, now, meant):
                return False
        for function, code, defaults, kwdefaults, held_count in self.functions:
            found: Any = function() if type(function) is weakref.ref else function
            if (
                found.__code__ is not code
                or found.__defaults__ is not defaults
                or found.__kwdefaults__ is not kwdefaults
                or (len(found.__dict__) != held_count and not self.work.count)
            ):
                return False
        for space, name, meant in self.attributes:
            now = look_up(space, name)
            if now is not meant and self._counts_now(name, now, meant):
                return False
        return bool(self.work.count) or all(state.holds() for state in self.states)

    def _counts_now(self, name: str, found: Any, meant: Any) -> bool:
        """Tell whether another meaning of a name counts: not if the function is setting it."""
        return not self.work.count or not self._may_set(name, found, meant)

    def _may_set(self, name: str, found: Any, meant: Any) -> bool:
        """Tell whether a name may have got another meaning by the function's own work.

        Somebody else may set a constant while it runs for hours; that is an edit.
        """
        is_code = isinstance(found, _CODE) or isinstance(meant, _CODE)
        return name in self.stores and not is_code

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let what changes meanwhile be the work of the function, and no edit of anybody's.

        A counter, a memo, a connection that is opened: the digest stays what it was, and
        they are named as not watched. What others change afterwards counts as before.
        """
        with _lock:
            self.work.count += 1
            self.work.changes += 1
        try:
            yield
        finally:
            with _lock:
                # First: who looks meanwhile has to find either state, and no other.
                self._renew()
                self.work.changes += 1
                self.work.count -= 1

    def _renew(self) -> None:
        known = {id(state.value) for state in self.states}
        for state in list(self.states):
            if isinstance(state, Members) and not self.stores.issuperset(state.new()):
                continue
            if state.renew():
                self._tell(state.label)
                if isinstance(state, Members):
                    self._follow_members(state.space, known)
                elif isinstance(state, State):
                    self._mark(id(state.value), state.value, state.counted, state.digest)
        self._renew_functions(known)
        for bindings in (self.names, self.attributes):
            for index, (space, name, meant) in enumerate(bindings):
                found = look_up(space, name)
                if found is not meant and self._may_set(name, found, meant):
                    bindings[index] = space, name, found
                    self._tell(name)
                    self._follow(name, found, known)
                    place = id(space), name
                    now = found, live_digest(found)
                    self._mark(place, space, self.counted.get(place, meant), now)
                    self.counted.setdefault(place, meant)

    def _renew_functions(self, known: set[int]) -> None:
        for index, (function, *parts, held_count) in enumerate(self.functions):
            found: Any = function() if type(function) is weakref.ref else function
            if len(found.__dict__) == held_count:
                continue
            self.functions[index] = (function, *parts, len(found.__dict__))
            self._tell(f"the attributes of {found.__qualname__}()")
            for name, value in list(found.__dict__.items()):
                if not isinstance(value, _CODE):
                    self.names.append((found.__dict__, name, value))
                    self._follow(name, value, known)

    def _mark(self, place: _Place, owner: Any, counted: Any, now: Any) -> None:
        """Remember for other graphs what the work of this function made of something."""
        mark = _marks.get(place)
        before = mark.counted if mark is not None else counted
        holders = self.holders.get(place, {}) | (mark.holders if mark is not None else {})
        _marks[place] = _Mark(owner, before, now, holders)

    def as_counted(self) -> dict[_Place, Any]:
        """Return what names and values stood for before functions at work changed them.

        Only where every function that may have changed a thing is in this graph too: then
        it is this function's own work as well, and no reason for another digest.
        """
        if not _marks:
            return {}
        here = {id(_alive(f[0])) for f in self.functions}.union(*self.holders.values())
        found: dict[_Place, Any] = {}
        for space, name, meant in (*self.names, *self.attributes):
            mark = _marks.get((id(space), name))
            if mark is None or mark.now[0] is not meant or not mark.is_work_of(here):
                continue
            if mark.now[1] == live_digest(meant):
                found[id(space), name] = mark.counted
        for state in self.states:
            mark = _marks.get(id(state.value))
            if not isinstance(state, State) or mark is None or not mark.is_work_of(here):
                continue
            if mark.now == state.digest:
                found[id(state.value)] = mark.counted
        return found

    def _tell(self, label: str) -> None:
        what = f"what became of {label} while the function ran"
        if what not in self.untracked:
            self.untracked.append(what)

    def _follow(self, name: str, value: Any, known: set[int]) -> None:
        """Watch a value that came to be behind a name, for changes that others make."""
        if value is not MISSING and id(value) not in known:
            known.add(id(value))
            self.states.append(State.of(value, name))

    def _follow_members(self, space: Any, known: set[int]) -> None:
        watched = {name for owner, name, _ in self.attributes if owner is space}
        for name in [name for name in vars(space) if name not in watched and name[:2] != "__"]:
            value = look_up(space, name)
            if not isinstance(value, _CODE):
                self.attributes.append((space, name, value))
                self._follow(name, value, known)


def _alive(function: Any) -> Any:
    return function() if type(function) is weakref.ref else function


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a function at work made of something.

    Attributes:
        owner: The value, or where the name is: kept, so that its identity stays its own.
        counted: What stood for it before.
        now: What it is since then: a digest; for a name what it leads to, with its digest.
        holders: The functions and classes that may have changed it.
    """

    owner: Any
    counted: Any
    now: Any
    holders: _Holders

    def is_work_of(self, here: set[int]) -> bool:
        """Tell whether all that may have changed it is among some things that are alive."""
        return all(
            place in here and holder() is not None for place, holder in self.holders.items()
        )


_marks: Final[dict[_Place, _Mark]] = {}

#: What is code, of which a change always counts.
_CODE: Final = (types.FunctionType, types.ModuleType, type)
_lock: Final = threading.RLock()


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
