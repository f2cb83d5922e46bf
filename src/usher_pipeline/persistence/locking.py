"""Files that nobody may sweep away, since somebody writes them.

A file that is being written is held by its writer with a lock on the file itself, which
goes with the process and needs no file of its own.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

fcntl: Any
try:
    import fcntl
except ImportError:  # where there is none, age alone tells what is left over
    fcntl = None

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["hold", "try_hold"]


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
