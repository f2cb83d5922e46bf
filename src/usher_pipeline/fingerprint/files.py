"""Files and folders → a digest of their content.

A file that did not change is read once per process: its digest is remembered under
times, size and inode.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TypeAlias

import xxhash

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = [
    "Noticed",
    "Signature",
    "know_store",
    "noticed",
    "path_digest",
    "signature",
    "stamp",
]

_CHUNK_BYTES: Final = 1 << 20

#: A file that changed this short a time ago may change again within one tick of its clock.
_SETTLED_NS: Final = 1_000_000_000

#: Times of content and of inode, size, inode.
Signature: TypeAlias = tuple[int, int, int, int]

_known: Final[dict[str, tuple[Signature, str]]] = {}
#: A path as it was given → the absolute one, the digest of what it led to, and what tells
#: that a file was written since; nothing for a folder.
Noticed: TypeAlias = "dict[Path, tuple[Path, str, Stamp]]"
Stamp: TypeAlias = "tuple[int, int, int] | None"

_noticed: ContextVar[Noticed | None] = ContextVar("usher_files", default=None)


def signature(path: str | os.PathLike[str]) -> tuple[Signature, bool] | None:
    """Return what tells that a file was changed, and whether that can be relied on.

    The time of the inode is in it, since the time of the content can be set at will.

    Returns:
        Times, size and inode; and False when the file is so young that another change may
        leave them as they are. None when there is no such file.
    """
    try:
        facts = os.stat(path)  # noqa: PTH116 - on the way of every call
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _signature(facts)


def _signature(facts: os.stat_result) -> tuple[Signature, bool]:
    settled = time.time_ns() - facts.st_ctime_ns > _SETTLED_NS
    return (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino), settled


#: The databases and folders of the stores that this process knows.
_stores: Final[set[str]] = set()

#: A file that DuckDB may hold open: to open and close it would drop DuckDB's lock, since
#: POSIX drops all locks of a process on a file when it closes any handle of it.
_DATABASES: Final = frozenset((".duckdb", ".ddb", ".wal"))


def know_store(*paths: Path) -> None:
    """Say what belongs to a store: its content changes with every result.

    Args:
        paths: Its database, log and folder, resolved.
    """
    _stores.update(map(str, paths))


@contextmanager
def noticed() -> Iterator[Noticed]:
    """Collect every path that is digested in the block, with its digest."""
    found: Noticed = {}
    token = _noticed.set(found)
    try:
        yield found
    finally:
        _noticed.reset(token)


def path_digest(path: Path) -> str:
    """Return what a path leads to, as a digest of the content.

    Args:
        path: A file, a folder, or nothing.

    Returns:
        ``file:…`` and ``folder:…`` with a digest; ``missing`` if nothing is there;
        ``other`` for a device, socket or pipe. A store counts by its name, since what is
        read from it is recorded, and any other database by its times and size, since it
        must not be opened.

    Raises:
        OSError: The file or folder can not be read.

    >>> from pathlib import Path
    >>> path_digest(Path("no/such/file"))
    'missing'
    """
    digest = _digest(path)
    collected = _noticed.get()
    if collected is not None:
        collected[path] = path.absolute(), digest, stamp(path, digest)
    return digest


def stamp(path: Path, digest: str) -> Stamp:
    """Return what tells that a file was written: time, size, inode.

    Args:
        path: What was digested.
        digest: Its digest; what is no plain file has no stamp.
    """
    found = signature(path) if digest.startswith("file:") else None
    return (found[0][0], found[0][2], found[0][3]) if found is not None else None


def _digest(path: Path) -> str:
    if _stores and os.path.realpath(path) in _stores:
        return "store"
    try:
        facts = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    if path.suffix in _DATABASES and stat.S_ISREG(facts.st_mode):
        return f"database:{facts.st_size}:{facts.st_mtime_ns}"
    if stat.S_ISREG(facts.st_mode):
        return f"file:{_file_digest(path, facts)}"
    if stat.S_ISDIR(facts.st_mode):
        return f"folder:{_folder_digest(path)}"
    return "other"


def _file_digest(path: Path, facts: os.stat_result) -> str:
    place = os.path.abspath(path)  # noqa: PTH100 - links stay as they are
    state, settled = _signature(facts)
    known = _known.get(place)
    if known is not None and known[0] == state:
        return known[1]
    hasher = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            hasher.update(chunk)
    digest = hasher.hexdigest()
    if settled:
        _known[place] = state, digest
    return digest


def _folder_digest(path: Path) -> str:
    hasher = xxhash.xxh3_128()
    for child in sorted(path.iterdir(), key=lambda child: os.fsencode(child.name)):
        for piece in (os.fsencode(child.name), _digest(child).encode()):
            hasher.update(len(piece).to_bytes(8, "little") + piece)
    return hasher.hexdigest()
