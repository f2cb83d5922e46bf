"""One computation per key, across threads and processes.

A lock file per key, through filelock; see ``docs/dependencies.md``. Its files are kept:
to unlink one while another process waits for it would give two holders.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from usher_pipeline.errors import CheckpointCycleError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["single_flight"]

_held = threading.local()


@contextmanager
def single_flight(folder: Path, name: str, key: str) -> Iterator[None]:
    """Let one caller at a time into the block, for one key of one store.

    Args:
        folder: The folder for lock files; created if it is not there.
        name: The checkpoint.
        key: The digest of the key.

    Raises:
        CheckpointCycleError: The caller itself is already inside.
    """
    from filelock import FileLock

    stack: list[tuple[str, str, str]] = _held.__dict__.setdefault("stack", [])
    call = (str(folder), name, key)
    if call in stack:
        chain = [held_name for _, held_name, _ in stack[stack.index(call) :]]
        raise CheckpointCycleError(name, [*chain, name])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = hashlib.sha256(f"{name}\0{key}".encode()).hexdigest()[:32]
    lock = FileLock(folder / f"{mark}.lock", thread_local=False)
    stack.append(call)
    try:
        with lock:
            yield
    finally:
        stack.remove(call)
