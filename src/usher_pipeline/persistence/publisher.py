"""Publishing behind the caller: one thread in each process that has something to publish.

What is to be published is marked on disk before anybody is told of a result, so nothing
depends on this thread: what it does not get to is done by the next one who opens the store.
When the main thread ends the interpreter waits for this one, which has a few seconds, and
more for what is large; then its statement is interrupted and rolled back, as it is at once
when somebody presses Ctrl-C meanwhile. At the end of an interpreter there is no later moment:
before its own exit handlers run, DuckDB is told that it may call Python no more.

When there is nothing to publish it runs errands, such as sealing again what only a table
still had: nobody has to wait for these, and those that are left at the end are dropped.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from usher_pipeline.inherited import start_apart
from usher_pipeline.persistence import engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

    from usher_pipeline.persistence.local import LocalBackend

__all__ = ["ask", "has_errands", "is_busy", "send", "wait"]

#: How long the interpreter waits at its end for what is being published; for large tables
#: as long as they usually take, else no short process would ever get to publish them.
_AT_EXIT_S: Final = 5.0
_AT_EXIT_S_PER_GB: Final = 10.0
_LONGEST_AT_EXIT_S: Final = 60.0
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
        self.errands: dict[tuple[Path, str], Callable[[], None]] = {}
        self.current: Path | None = None
        self.on_errand: Path | None = None
        self.is_pausing = False
        self.is_ending = False
        self.is_hurried = False
        self.size_bytes = 0
        self.thread: threading.Thread | None = None

    def ask(self, backend: LocalBackend, size_bytes: int = 0) -> None:
        """Publish a store soon."""
        with self.changed:
            if self._is_there():
                self.waiting[backend.path] = backend
                self.size_bytes = max(self.size_bytes, size_bytes)

    def send(self, path: Path, errand: str, work: Callable[[], None]) -> None:
        """Do some work on a store when there is nothing to publish."""
        with self.changed:
            if self._is_there():
                self.errands[path, errand] = work

    def _is_there(self) -> bool:
        """Tell whether the thread is there to take a job, which it is unless all is ending.

        Whoever asks holds the lock, so it finds what is left to it before it may stop.
        """
        if self.is_ending or self.thread is not None:
            return not self.is_ending
        if not threading.main_thread().is_alive():
            # Nobody would wait for a thread that is started now, in a handler of the end:
            # it would come back from DuckDB when there is no interpreter any more.
            return False
        # The interpreter waits for both, as it does for any thread that is no daemon: one
        # that comes back from DuckDB when the interpreter is gone ends the whole process.
        _see_to_the_end()
        self.thread = threading.Thread(target=self._work, name="usher-publisher")
        guard = threading.Thread(target=self._guard, args=[self.thread], name="usher-guard")
        try:
            start_apart(self.thread)
            start_apart(guard)
        except RuntimeError:
            # An interpreter that is ending starts no thread any more.
            self.thread = None
        return self.thread is not None

    def _next(self) -> tuple[Path, Callable[[], None]] | None:
        """Take what is to be done next; None if there is nothing."""
        with self.changed:
            if self.is_ending:
                self.waiting.clear()
                self.errands.clear()
            if not (self.waiting or self.errands):
                self.size_bytes = 0
                self.thread = None
                self.changed.notify_all()
                return None
            if self.waiting:
                path, backend = next(iter(self.waiting.items()))
                del self.waiting[path]
                self.current = path
                return path, partial(self._publish, backend)
            (path, errand), work = next(iter(self.errands.items()))
            del self.errands[path, errand]
            self.on_errand = path
            return path, work

    def _work(self) -> None:
        while (found := self._next()) is not None:
            path, work = found
            try:
                work()
            except Exception:  # noqa: BLE001 - it is marked on disk, and there is nobody to tell
                # What was interrupted at the end is nobody's mistake; the next opener does it.
                level = logging.DEBUG if self.is_ending else logging.WARNING
                _log.log(level, "the store %s was not kept up", path, exc_info=True)
            # What it holds may be large, and the next job may be long in coming.
            del found, work
            with self.changed:
                self.current = self.on_errand = None
                self.changed.notify_all()

    def _publish(self, backend: LocalBackend) -> None:
        ends = time.monotonic() + _PATIENCE_S
        pause_s = _FIRST_PAUSE_S
        while not backend.publish() and engine.writable(backend.path):
            with self.changed:
                if self.is_ending or time.monotonic() >= ends:
                    return
                self.is_pausing = True
                # Whoever waits for the end need not wait for others to let go of a file.
                self.changed.notify_all()
                self.changed.wait(pause_s)
                self.is_pausing = False
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def is_at_work_for(self, path: Path) -> bool:
        """Tell whether a store is being published, or is about to be."""
        return self.current == path or path in self.waiting

    def is_done_with(self, path: Path) -> bool:
        """Tell whether nothing is left to do for a store, errands included."""
        waiting = {place for place, _ in self.errands}
        return path not in waiting | {self.on_errand} and not self.is_at_work_for(path)

    def wait(self, path: Path, timeout_s: float) -> bool:
        """Wait until nothing is left to do for a store; tell whether that is so."""
        with self.changed:
            return self.changed.wait_for(lambda: self.is_done_with(path), timeout_s)

    def _guard(self, thread: threading.Thread) -> None:
        """Wait for the end of the main thread, and see that the other one ends soon after."""
        while thread.is_alive():
            thread.join(_LOOK_EVERY_S)
            if not threading.main_thread().is_alive():
                self._end(thread)
                return

    def _end(self, thread: threading.Thread) -> None:
        """Let the thread finish within some seconds, else have its work rolled back."""
        with self.changed:
            patience_s = max(_AT_EXIT_S, _AT_EXIT_S_PER_GB * self.size_bytes / 1e9)
            ends = time.monotonic() + min(patience_s, _LONGEST_AT_EXIT_S)
            while self._may_finish() and time.monotonic() < ends:
                # Whoever hurries it can not take the lock: that is a handler of a signal.
                self.changed.wait(_LOOK_EVERY_S)
            self.is_ending = True
            self.changed.notify_all()
        while thread.is_alive():
            if self.current is not None:
                engine.interrupt(self.current)
            thread.join(_LOOK_EVERY_S)

    def _may_finish(self) -> bool:
        return self.thread is not None and not (self.is_pausing or self.is_hurried)


_publisher = _Publisher()


# --- the end of the interpreter ---------------------------------------------------------

_is_seen_to = False


def _see_to_the_end() -> None:
    """Have Ctrl-C handled while the interpreter waits for the thread at its end, once."""
    global _is_seen_to  # noqa: PLW0603 - it concerns the whole process
    # It is what `concurrent.futures` uses; handlers of `atexit` come after the waiting.
    register = getattr(threading, "_register_atexit", None)
    if register is not None and not _is_seen_to:
        _is_seen_to = True
        # Where the end has begun there is nothing to see to.
        with suppress(RuntimeError):
            register(_expect_hurry)


def _expect_hurry() -> None:
    """Let Ctrl-C end the waiting instead of being raised where nobody can catch it.

    It would leave the thread to come back from DuckDB when there is no interpreter any more.
    """
    if signal.getsignal(signal.SIGINT) is not _RAISES:
        return
    # Some other thread may end the interpreter, which may not say what signals do.
    with suppress(ValueError):
        signal.signal(signal.SIGINT, _hurry)


_RAISES: Final = signal.default_int_handler


def _hurry(number: int, frame: FrameType | None) -> None:
    if _publisher.thread is None:
        # It is for somebody else, who goes on after the main thread.
        _RAISES(number, frame)
    elif not _publisher.is_hurried:
        _publisher.is_hurried = True
    else:
        # Whoever presses it again wants the process to be gone, which harms no store.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


def _start_again() -> None:
    """Begin anew in a forked child, in which the thread does not run."""
    global _publisher  # noqa: PLW0603 - a fork changes the whole process
    _publisher = _Publisher()


os.register_at_fork(after_in_child=_start_again)


def ask(backend: LocalBackend, size_bytes: int = 0) -> None:
    """Publish what is meant in a store, behind the caller.

    Args:
        backend: The store.
        size_bytes: How much that is; a large table may be waited for a little longer at the
            end of the interpreter.
    """
    _publisher.ask(backend, size_bytes)


def send(path: Path, errand: str, work: Callable[[], None]) -> None:
    """Do something for a store behind the caller, when nothing is left to publish.

    Args:
        path: Its database.
        errand: What it is; the same one is not done twice in a row.
        work: Does it. An error of it is logged.
    """
    _publisher.send(path, errand, work)


def has_errands() -> bool:
    """Tell whether errands are waiting or under way, with all that they hold in memory."""
    return bool(_publisher.errands) or _publisher.on_errand is not None


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
