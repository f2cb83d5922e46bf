"""One computation per key, across threads, tasks and processes.

A lock file per key, through filelock; see ``docs/dependencies.md``. Its files are kept:
to unlink one while another process waits for it would give two holders.

Beside a lock lies a note of who holds it, and one of each waiter that holds other keys: so
a person can be told whom a call waits for, and a circle of calls that wait for each other,
in whatever threads and processes, is an error and not a silence without end.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime
from errno import EACCES, EPERM, EROFS
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

from usher_pipeline.errors import CheckpointCycleError
from usher_pipeline.inherited import Inherited
from usher_pipeline.interrupts import check, held_back
from usher_pipeline.persistence.entries import read_json
from usher_pipeline.persistence.locking import hold, try_hold
from usher_pipeline.records import utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from filelock import FileLock

__all__ = ["LOCKS", "NOTES", "Holder", "holders", "single_flight"]

#: The folder for lock files and notes, in the folder of checkpoints.
LOCKS: Final = ".locks"
#: How the notes end: of who holds a key, and of who waits for one.
NOTES: Final = (".json", ".wait")

#: Where nothing may be written nobody can store a result, so there is nothing to wait for.
_READ_ONLY: Final = frozenset((EACCES, EPERM, EROFS))
#: How often a waiter tries at first, and once nobody expects an answer within a blink.
_QUICK_S, _PATIENT_S = 0.01, 0.05
#: How often a waiter looks for a circle.
_LOOK_S: Final = 0.5
#: After which time a waiter says so for the first time, and by how much later each time.
_TOLD_AFTER_S: Final = 2.0
_TOLD_AGAIN: Final = 10


class _Call(NamedTuple):
    """A computation that is under way around the caller: its lock, name and mark."""

    folder: str
    lock: str
    name: str
    mark: str


#: The computations around the caller, outermost first; whoever works for one of them, in a
#: thread, a pool, a task or a forked process, works inside it.
_inside: Final[Inherited[tuple[_Call, ...]]] = Inherited("usher_flights")
#: The marks of those that are under way: a thread may outlive the one that it was started in.
_under_way: Final[set[str]] = set()


@dataclass(frozen=True, slots=True)
class Holder:
    """Who computes a key.

    Attributes:
        name: The checkpoint.
        pid: The process.
        host: The machine.
        started_at: Since when (UTC).
        mark: What tells its computation from every other one.
    """

    name: str
    pid: int
    host: str
    started_at: datetime
    mark: str

    def __str__(self) -> str:
        """Return who that is, in words."""
        own = " (this one)" if self.pid == os.getpid() else ""
        parent = " (a parent of this one)" if self.pid in _parents() else ""
        return (
            f"process {self.pid}{own}{parent} on {self.host}, at it since "
            f"{self.started_at:%Y-%m-%d %H:%M:%S} UTC"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the holder as what JSON can hold."""
        return {
            "name": self.name,
            "pid": self.pid,
            "host": self.host,
            "started_at": self.started_at.isoformat(),
            "mark": self.mark,
        }

    @classmethod
    def from_json(cls, data: Any) -> Holder | None:
        """Return the holder that `to_json` wrote; None if it is none."""
        try:
            name, host, mark = (str(data[key]) for key in ("name", "host", "mark"))
            pid, started_at = int(data["pid"]), datetime.fromisoformat(data["started_at"])
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return None
        return None if started_at.tzinfo is None else cls(name, pid, host, started_at, mark)


@contextmanager
def single_flight(
    folder: Path,
    name: str,
    key: str,
    tell: Callable[[Holder | None, float], None] | None = None,
) -> Iterator[None]:
    """Let one caller at a time into the block, for one key of one store.

    Where no lock file can be made, since the folder is read-only, everybody is let in.

    Args:
        folder: The folder for lock files; created if it is not there.
        name: The checkpoint.
        key: The digest of the key.
        tell: Called when somebody else is inside for long, after 2 s, 20 s and so on: with
            who that is, if that is known, and how long it was waited, in seconds.

    Raises:
        CheckpointCycleError: The caller is inside already, or waits for somebody who in
            turn waits for it.
    """
    lock = hashlib.sha256(f"{name}\0{key}".encode()).hexdigest()[:32]
    call = _Call(str(folder), lock, name, uuid4().hex)
    around = tuple(each for each in _inside.get() or () if each.mark in _under_way)
    for place, each in enumerate(around):
        if each[:2] == call[:2]:
            raise CheckpointCycleError(name, [*(c.name for c in around[place:]), name])
    flight = _Flight(folder, call, around)
    try:
        # Ctrl-C that came between taking and knowing of it would leave the key taken.
        with held_back():
            flight.take(tell)
        yield
    finally:
        with held_back():
            flight.let_go()


class _Flight:
    """A computation, from when it asks for its key until it gives it back.

    Args:
        folder: The folder for lock files.
        call: What it is.
        around: The computations that it is a part of, outermost first.
    """

    def __init__(self, folder: Path, call: _Call, around: Sequence[_Call]) -> None:
        from filelock import FileLock

        self.folder = folder
        self.call = call
        self.around = around
        self.lock = FileLock(folder / f"{call.lock}.lock", mode=0o600, thread_local=False)
        self.inside = ExitStack()

    def take(self, tell: Callable[[Holder | None, float], None] | None) -> None:
        """Hold the key, or go on without where no lock file can be made."""
        try:
            # The mode of a folder above is not that which is asked for the last one.
            for each in (self.folder.parent, self.folder):
                each.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _try(self.lock, 0.0, _QUICK_S):
                _wait(self.folder, self.lock, self.call, self.around, tell)
        except OSError as problem:
            if problem.errno not in _READ_ONLY:
                raise
        call = self.call
        if self.lock.is_locked:
            holder = Holder(call.name, os.getpid(), socket.gethostname(), utc_now(), call.mark)
            note = _noted(self.folder / f"{call.lock}{NOTES[0]}", holder.to_json())
            self.inside.enter_context(note)
        token = _inside.set((*self.around, call))
        self.inside.callback(_inside.reset, token)
        _under_way.add(call.mark)

    def let_go(self) -> None:
        """Give back what is held of it."""
        _under_way.discard(self.call.mark)
        self.inside.close()
        if self.lock.is_locked:
            self.lock.release()


def _try(lock: FileLock, timeout_s: float, poll_s: float) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=timeout_s, poll_interval=poll_s)
    except Timeout:
        return False
    return True


def _wait(
    folder: Path,
    lock: FileLock,
    call: _Call,
    around: Sequence[_Call],
    tell: Callable[[Holder | None, float], None] | None,
) -> None:
    """Wait for a lock, say so when it takes long, and refuse to wait for oneself."""
    since_s, next_s, before = time.monotonic(), _TOLD_AFTER_S, None
    waits = {"marks": [each.mark for each in around], "for": call.lock}
    # Nobody waits for who is inside of nothing.
    note = _noted(folder / f"{call.mark}{NOTES[1]}", waits) if around else nullcontext()
    with note:
        while not _try(lock, _LOOK_S, _QUICK_S if next_s == _TOLD_AFTER_S else _PATIENT_S):
            check()
            chain = _circle(folder, call, around)
            # What is seen once may be half of a change that others are at.
            if chain is not None and chain == before:
                raise CheckpointCycleError(call.name, chain)
            before = chain
            waited_s = time.monotonic() - since_s
            if waited_s >= next_s:
                next_s *= _TOLD_AGAIN
                if tell is not None:
                    tell(_holder(folder, call.lock), waited_s)


def _parents() -> list[int]:
    """Return the processes that started this one, where the system tells that."""
    found, pid = list[int](), os.getpid()
    with suppress(OSError, ValueError, IndexError):
        while pid > 1:
            # What stands in brackets may hold anything, brackets included.
            facts = Path(f"/proc/{pid}/stat").read_text("ascii", "replace")
            pid = int(facts.rpartition(")")[2].split()[1])
            found.append(pid)
    return found


# --- who waits for whom -----------------------------------------------------------------


def _circle(folder: Path, call: _Call, around: Sequence[_Call]) -> list[str] | None:
    """Return the calls of the circle that waiting for a call closes; None if there is none.

    A computation waits for all that is asked for inside of it; it is waited for by those
    that ask for its key.
    """
    marks = [each.mark for each in around]
    waits = [read_json(path) for path in _files(folder, NOTES[1])] if around else []
    ways = [(call.lock, [call.name])]
    seen = {call.lock}
    while ways:
        lock, names = ways.pop()
        holder = _holder(folder, lock)
        if holder is None:
            continue
        if holder.mark in marks:
            return [each.name for each in around[marks.index(holder.mark) :]] + names
        for wait in waits:
            wanted, inside = str(wait.get("for")), wait.get("marks")
            if isinstance(inside, list) and holder.mark in inside and wanted not in seen:
                seen.add(wanted)
                further = _holder(folder, wanted)
                ways.append((wanted, [*names, further.name if further else ""]))
    return None


def _holder(folder: Path, lock: str) -> Holder | None:
    return Holder.from_json(read_json(folder / f"{lock}{NOTES[0]}"))


def holders(folder: Path) -> list[Holder]:
    """Return who computes a key of a store now, the longest at it first.

    Args:
        folder: The folder for lock files.
    """
    found = []
    for path in _files(folder, NOTES[0]):
        with try_hold(path) as is_left_over:
            holder = Holder.from_json(read_json(path))
            if is_left_over is None and holder is not None:
                found.append(holder)
    return sorted(found, key=lambda holder: holder.started_at)


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.suffix == suffix]
    except OSError:
        return []


@contextmanager
def _noted(path: Path, data: object) -> Iterator[None]:
    """Keep a note in a file during the block, held by its writer while it lives.

    A note that can not be written is missed by whoever would have been told, and by nobody
    else.
    """
    temporary, writer, number = path.with_name(f".{uuid4().hex}.tmp"), os.getpid(), -1
    with suppress(OSError):
        number = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        hold(number)
        os.write(number, json.dumps(data).encode())
        temporary.replace(path)
    try:
        yield
    finally:
        # A forked child may leave the block too.
        if number >= 0 and os.getpid() == writer:
            for each in (temporary, path):
                with suppress(OSError):
                    each.unlink()
        if number >= 0:
            os.close(number)
