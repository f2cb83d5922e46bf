"""Publishing behind the caller: one thread in each process that has something to publish.

What is to be published is marked on disk before anybody is told of a result, so nothing
depends on this thread: what it does not get to is done by the next one who opens the store.
When the main thread ends the interpreter waits for this one, which has a few seconds; then
its statement is interrupted and rolled back. At the end of an interpreter there is no later
moment: before its own exit handlers run, DuckDB is told that it may call Python no more.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from usher_pipeline.inherited import start_apart
from usher_pipeline.persistence import engine

if TYPE_CHECKING:
    from pathlib import Path

    from usher_pipeline.persistence.local import LocalBackend

__all__ = ["ask", "is_busy", "wait"]

#: How long the interpreter waits at its end for what is being published.
_AT_EXIT_S: Final = 5.0
_FIRST_PAUSE_S: Final = 0.5
_LOOK_EVERY_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 30.0
#: After so long a hold of others the next opener is left to do it.
_PATIENCE_S: Final = 900.0

_log: Final = logging.getLogger("usher_pipeline")


class _Publisher:
    """The stores of this process that are to be published, and the thread that does it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.waiting: dict[Path, LocalBackend] = {}
        self.untidy: dict[Path, LocalBackend] = {}
        self.current: Path | None = None
        self.tidied: Path | None = None
        self.is_pausing = False
        self.is_ending = False
        self.thread: threading.Thread | None = None

    def ask(self, backend: LocalBackend, *, keep_house: bool) -> None:
        """Publish a store soon, or keep house in it when there is nothing to publish."""
        with self.changed:
            if self.is_ending:
                return
            (self.untidy if keep_house else self.waiting)[backend.path] = backend
            if self.thread is None:
                # The interpreter waits for it, as it does for any thread that is no daemon.
                self.thread = threading.Thread(target=self._work, name="usher-publisher")
                guard = threading.Thread(
                    target=self._guard, args=[self.thread], name="usher-guard", daemon=True
                )
                try:
                    start_apart(self.thread)
                    start_apart(guard)
                except RuntimeError:
                    # An interpreter that is ending starts no thread any more.
                    self.thread = None

    def _work(self) -> None:
        while True:
            with self.changed:
                jobs = self.waiting or self.untidy
                if not jobs or self.is_ending:
                    self.thread = None
                    self.changed.notify_all()
                    return
                path, backend = next(iter(jobs.items()))
                del jobs[path]
                is_to_publish = jobs is self.waiting
                self.current, self.tidied = (path, None) if is_to_publish else (None, path)
            try:
                if is_to_publish:
                    self._publish(backend)
                else:
                    backend.keep_house()
            except Exception:  # noqa: BLE001 - it is marked on disk, and there is nobody to tell
                _log.warning("the store %s was not kept up", backend.path, exc_info=True)
            with self.changed:
                self.current = self.tidied = None
                self.changed.notify_all()

    def _publish(self, backend: LocalBackend) -> None:
        ends = time.monotonic() + _PATIENCE_S
        pause_s = _FIRST_PAUSE_S
        while not backend.publish() and engine.writable(backend.path):
            with self.changed:
                if self.is_ending or time.monotonic() >= ends:
                    return
                self.is_pausing = True
                self.changed.wait(pause_s)
                self.is_pausing = False
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def is_at_work_for(self, path: Path) -> bool:
        """Tell whether a store is being published, or is about to be."""
        return self.current == path or path in self.waiting

    def is_done_with(self, path: Path) -> bool:
        """Tell whether nothing is left to do for a store, housekeeping included."""
        is_tidy = self.tidied != path and path not in self.untidy
        return is_tidy and not self.is_at_work_for(path)

    def wait(self, path: Path, timeout_s: float) -> bool:
        """Wait until nothing is left to do for a store; tell whether that is so."""
        with self.changed:
            return self.changed.wait_for(lambda: self.is_done_with(path), timeout_s)

    def _guard(self, thread: threading.Thread) -> None:
        """Wait for the end of the main thread, and see that the other one ends soon after."""
        while thread.is_alive():
            threading.main_thread().join(_LOOK_EVERY_S)
            if not threading.main_thread().is_alive():
                self._end(thread)
                return

    def _end(self, thread: threading.Thread) -> None:
        """Let the thread finish within some seconds, else have its work rolled back."""
        with self.changed:
            if not self.is_pausing:
                self.changed.wait_for(
                    lambda: self.thread is None or self.is_pausing, _AT_EXIT_S
                )
            self.is_ending = True
            self.changed.notify_all()
        while thread.is_alive():
            if self.current is not None:
                engine.interrupt(self.current)
            thread.join(_LOOK_EVERY_S)


_publisher = _Publisher()


def _start_again() -> None:
    """Begin anew in a forked child, in which the thread does not run."""
    global _publisher  # noqa: PLW0603 - a fork changes the whole process
    _publisher = _Publisher()


os.register_at_fork(after_in_child=_start_again)


def ask(backend: LocalBackend, *, keep_house: bool = False) -> None:
    """Publish what is meant in a store, behind the caller.

    Args:
        backend: The store.
        keep_house: Keep its segments within their budget instead, when nothing is left to
            publish.
    """
    _publisher.ask(backend, keep_house=keep_house)


def is_busy(path: Path) -> bool:
    """Tell whether a store is being published behind the callers, or is about to be.

    Args:
        path: Its database.
    """
    return _publisher.is_at_work_for(path)


def wait(path: Path, timeout_s: float) -> bool:
    """Wait until this process is done with a store; tell whether it is.

    What is to be published is published then, or left to others, and no thread of this
    process changes a file of the store before somebody asks for more.

    Args:
        path: Its database.
        timeout_s: How long to wait, in seconds.
    """
    return _publisher.wait(path, timeout_s)
