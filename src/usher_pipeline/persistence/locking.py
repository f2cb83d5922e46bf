"""One computation per key, across threads and processes; and what nobody may sweep away.

A lock file per key, through filelock; see ``docs/dependencies.md``. Its files are kept:
to unlink one while another process waits for it would give two holders.

A file that is being written is held by its writer with a lock on the file itself, which
goes with the process and needs no file of its own.
"""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import contextmanager, nullcontext
from errno import EACCES, EPERM, EROFS
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.errors import CheckpointCycleError

fcntl: Any
try:
    import fcntl
except ImportError:  # where there is none, age alone tells what is left over
    fcntl = None

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

__all__ = ["hold", "single_flight", "try_hold"]

_held = threading.local()

#: Where nothing may be written nobody can store a result, so there is nothing to wait for.
_READ_ONLY: Final = frozenset((EACCES, EPERM, EROFS))


@contextmanager
def single_flight(folder: Path, name: str, key: str) -> Iterator[None]:
    """Let one caller at a time into the block, for one key of one store.

    Where no lock file can be made, since the folder is read-only, everybody is let in.

    Args:
        folder: The folder for lock files; created if it is not there.
        name: The checkpoint.
        key: The digest of the key.

    Raises:
        CheckpointCycleError: The caller itself is already inside.
    """
    stack: list[tuple[str, str, str]] = _held.__dict__.setdefault("stack", [])
    call = (str(folder), name, key)
    if call in stack:
        chain = [held_name for _, held_name, _ in stack[stack.index(call) :]]
        raise CheckpointCycleError(name, [*chain, name])
    stack.append(call)
    try:
        with _taken(folder, hashlib.sha256(f"{name}\0{key}".encode()).hexdigest()[:32]):
            yield
    finally:
        stack.remove(call)


def _taken(folder: Path, mark: str) -> AbstractContextManager[object]:
    """Return a lock that is held, to be let go by leaving it; nothing if none can be had."""
    from filelock import FileLock

    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(folder / f"{mark}.lock", thread_local=False)
        return lock.acquire()
    except OSError as problem:
        if problem.errno not in _READ_ONLY:
            raise
        return nullcontext()


# --- files that are being written -------------------------------------------------------


def hold(number: int) -> bool:
    """Lock an open file for as long as it is open, so that nobody sweeps it away.

    Never that of a database: DuckDB's own locks would be dropped when it is closed.

    Args:
        number: Its file descriptor.

    Returns:
        Whether it is ours; never False where the system has no such locks.

    >>> import tempfile
    >>> with tempfile.TemporaryFile() as file:
    ...     hold(file.fileno())
    True
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def try_hold(path: Path) -> Iterator[os.stat_result | None]:
    """Hold a file for the length of the block, if nobody else does.

    Args:
        path: The file; one of our own, and never a database.

    Yields:
        What the system says of the file that is held; None if somebody else holds it, or
        if it is not there or can not be opened.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        yield None
        return
    try:
        yield os.fstat(number) if hold(number) else None
    finally:
        os.close(number)
