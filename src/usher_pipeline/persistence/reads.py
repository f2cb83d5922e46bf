"""What a checkpointed function reads from stores while it runs.

Whoever serves something stored calls `record`; it is noted on the function that is
running around the caller, also when the caller is a thread or a pool of that function.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from usher_pipeline.inherited import Inherited, is_foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime
    from pathlib import Path

    from usher_pipeline.records import Entry, Read

__all__ = [
    "Call",
    "calls_around",
    "current_call",
    "meant_in",
    "record",
    "tell_what_is_meant",
]


class Call:
    """A checkpointed function that is running.

    Attributes:
        name: The checkpoint.
        config: The config paths that it declares.
        inputs: The tables that it declares.
        home: The database of its own store.
        reads: What it read, in the order of the first time.
        torn: What it read twice and found in two versions, in words.
    """

    def __init__(
        self, name: str, config: tuple[str, ...], inputs: tuple[str, ...], home: Path
    ) -> None:
        self.name = name
        self.config = config
        self.inputs = inputs
        self.home = home
        self.torn: list[str] = []
        self.is_running = False
        self._reads: dict[tuple[object, ...], Read] = {}
        self._lock = threading.Lock()

    @property
    def reads(self) -> tuple[Read, ...]:
        """What it read, in the order of the first time."""
        return tuple(self._reads.values())

    def note(self, read: Read, store: Path) -> None:
        """Note one read of one store."""
        if store != self.home:
            read = replace(read, store=relative(store, self.home.parent))
        with self._lock:
            known = self._reads.setdefault(read.place, read)
            if read.kind == "call" and not known.content:
                # It failed, or was not there, and was asked again.
                self._reads[read.place] = read
            elif known.content != read.content and (read.content or read.kind != "call"):
                self.torn.append(f"{read.kind} {read.name}" if read.name else "the tables")

    def remember(self, reads: Iterable[Read]) -> None:
        """Note what it had read already in a process before this one."""
        with self._lock:
            for read in reads:
                self._reads.setdefault(read.place, read)

    def __enter__(self) -> Self:
        self.is_running = True
        self._token = _calls.set(self)
        _running.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _running.remove(self)
        _calls.reset(self._token)
        self.is_running = False


_calls: Final[Inherited[Call]] = Inherited("usher_calls")
_running: Final[list[Call]] = []


def current_call() -> Call | None:
    """Return the checkpointed function that is running around the caller, if any."""
    return next(iter(calls_around()), None)


def calls_around() -> list[Call]:
    """Return the checkpointed functions that the caller may be at work for.

    That is the one that is running around it, if any. A thread that Python did not start,
    such as one of polars in which a function of ours is called for each batch, inherited
    nothing that tells for whom it works: it may be any function that is running.
    """
    call = _calls.get()
    if call is not None:
        # A thread may outlive the function that started it.
        return [call] if call.is_running else []
    return _running[::-1] if is_foreign() else []


def record(read: Read, store: Path) -> None:
    """Note a read on the function that is running, if any.

    Args:
        read: What was read.
        store: The database that it was read from, resolved.
    """
    for call in calls_around():
        call.note(read, store)


def relative(path: Path, folder: Path) -> str:
    """Return a path as seen from a folder, so that both can be moved together."""
    return os.path.relpath(path, folder)


# --- what a name means ------------------------------------------------------------------

_Returned: TypeAlias = "Iterable[tuple[Entry, datetime]]"


def _nothing_returned(_: Path) -> _Returned:
    return ()


_returned: Callable[[Path], _Returned] = _nothing_returned


def tell_what_is_meant(told: Callable[[Path], _Returned]) -> None:
    """Say who knows what the present run means by the names of a store.

    Args:
        told: Takes a database; returns what the run last returned under each of its names,
            and when (UTC).
    """
    global _returned  # noqa: PLW0603 - there is one process and one who knows
    _returned = told


def meant_in(store: Path) -> list[tuple[Entry, datetime]]:
    """Return what the present run last returned under the names of a store, and when."""
    return list(_returned(store))
