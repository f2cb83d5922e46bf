"""How far a call has come that asks for many items, shown while it lasts.

A line that is drawn anew on a terminal or under the cell of a notebook, lines of the log
elsewhere. It is drawn by a thread: what takes hours is not slowed down by a terminal that
is slow or paused, and a line that is looked at while nothing comes says just that.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections import deque
from contextlib import suppress
from contextvars import copy_context
from html import escape
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from usher_pipeline.config.environment import is_off, variable
from usher_pipeline.display import Progress, progress_line
from usher_pipeline.inherited import start_apart
from usher_pipeline.runs import current_run
from usher_pipeline.saying import is_quiet

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console

__all__ = ["Pace", "Shown", "showing"]

#: What is over sooner is not shown at all.
_FLASH_S: Final = 0.5
#: How long the end of a call waits for a terminal that takes nothing, such as a paused one.
_PATIENCE_S: Final = 1.0
#: When the log tells of it, after the start; later every five minutes.
_LOGGED_AT_S: Final = (_FLASH_S, 10.0, 60.0)
_LOGGED_EACH_S: Final = 300.0
_log: Final = logging.getLogger("usher_pipeline")


# --- how fast it is ---------------------------------------------------------------------


class Pace:
    """How many items come in each second, of late.

    What came before the first look counts for nothing, and what came before the window is
    forgotten: neither what an earlier call stored nor a pause of an hour makes the rate lie
    for longer than that. Of slow items the window holds some at least, however long ago.

    Args:
        window_s: How far it looks back, in seconds.
        least: How many items it looks back at, however long they took.

    >>> pace = Pace()
    >>> pace.add(5_000, at_s=0.0) is None
    True
    >>> pace.add(5_020, at_s=10.0)
    2.0
    """

    def __init__(self, window_s: float = 60.0, least: int = 30) -> None:
        self._window_s = window_s
        self._least = least
        #: Looks at which there was more than at the one before, the oldest first.
        self._looks: deque[tuple[float, int]] = deque()

    def add(self, count: int, at_s: float) -> float | None:
        """Take a look, and return the rate in items per second; None while it is unknown.

        Args:
            count: How many items there are by now, of whatever beginning.
            at_s: When that is, by a clock that only goes forward, in seconds.
        """
        looks = self._looks
        # Closer looks would only take memory.
        is_later = bool(looks) and at_s - looks[-1][0] >= self._window_s / 60
        if not looks or (is_later and count > looks[-1][1]):
            looks.append((at_s, count))
        while len(looks) > 1 and self._suffices(looks[1], count, at_s):
            looks.popleft()
        began_s, before = looks[0]
        if count - before < _KNOWN_ITEMS or at_s - began_s < _KNOWN_S:
            return None
        return (count - before) / (at_s - began_s)

    def _suffices(self, look: tuple[float, int], count: int, at_s: float) -> bool:
        return at_s - look[0] >= self._window_s and count - look[1] >= self._least


#: Fewer items, or a shorter time, say nothing of a rate.
_KNOWN_ITEMS: Final = 2
_KNOWN_S: Final = 1.0


# --- where it is shown ------------------------------------------------------------------


class _Form(Protocol):
    """A way to show it.

    Attributes:
        each_s: How often it is shown, in seconds.
    """

    each_s: float

    def show(self, progress: Progress) -> None: ...

    def end(self, progress: Progress, outcome: str) -> None: ...

    def close(self) -> None: ...


#: Held by the one bar, or display, that there is: calls within calls and beside each other
#: would draw over one another, or fill a notebook.
_seat: Final = threading.Lock()


class _Seated:
    """Takes the one place where something is drawn, if it is free."""

    def __init__(self) -> None:
        self._is_seated = False
        self._is_closed = False

    def take_seat(self) -> bool:
        if not self._is_seated and not self._is_closed:
            self._is_seated = _seat.acquire(blocking=False)
        return self._is_seated

    def close(self) -> None:
        self._is_closed = True
        if self._is_seated:
            self._is_seated = False
            _seat.release()


class _Bar(_Seated):
    """One line of a terminal.

    `rich` makes the bar, with the colours and characters that the terminal knows. That its
    `Live` does not draw it has reasons: it hides the cursor, which whoever is killed does
    not show again; it sends what is printed to where the bar is, also when standard output
    is a file; and it breaks lines, holds back what ends without one, and takes a lock that
    a forked child inherits taken.

    Args:
        stream: The terminal.
    """

    each_s = 0.2

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream
        self._write: Callable[[str], object] = stream.write
        self._console: Console | None = None
        self._lock = threading.RLock()
        self._pid = os.getpid()
        #: What the line is to show, and whether others have it at the moment.
        self._drawn = ""
        self._is_mid_line = False
        #: The streams that give way, how, and a `write` that was set on them before.
        self._hooked: list[tuple[Any, Any, Any]] = []

    def show(self, progress: Progress) -> None:
        if self._is_in_background() or not self.take_seat():
            return
        drawn = self._rendered(progress)
        with self._lock:
            if self._is_closed:
                return
            self._hook()
            is_news, self._drawn = drawn != self._drawn, drawn
            if is_news and not self._is_mid_line:
                self._draw()

    def end(self, progress: Progress, outcome: str) -> None:
        if self._is_in_background() or not self.take_seat():
            return
        line = progress_line(progress, outcome, width=self._width(), measure=_cells)
        if not self._lock.acquire(timeout=_PATIENCE_S):
            return
        try:
            self._unhook()
            start = "\n" if self._is_mid_line else "\r"
            self._write(f"{start}{line}\x1b[K\n")
            self._stream.flush()
        finally:
            self._lock.release()

    def close(self) -> None:
        self._unhook()
        super().close()

    # --- drawing ---

    def _draw(self) -> None:
        # The line is overwritten and then cleared behind: the other way round it blinks.
        self._write(f"\r{self._drawn}\x1b[K")
        self._stream.flush()

    def _wipe(self) -> None:
        self._write("\r\x1b[K")
        self._stream.flush()

    def _rendered(self, progress: Progress) -> str:
        from rich.progress_bar import ProgressBar

        width = self._width()
        line = progress_line(progress, width=width, measure=_cells)
        spare = width - _cells(line) - 1
        fits = next((cells for cells in _BAR_CELLS if cells <= spare), 0)
        if not fits:
            return line
        bar = ProgressBar(max(progress.total, 1), progress.done, width=fits)
        console = self._rich()
        with console.capture() as captured:
            console.print(bar, end="")
        shape = captured.get().rstrip("\n")
        return f"{shape} {line}"

    def _width(self) -> int:
        # In the last column some terminals begin a new line.
        return max(self._rich().size.width - 1, 1)

    def _rich(self) -> Console:
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self._stream, force_jupyter=False)
        return self._console

    def _is_in_background(self) -> bool:
        """Tell whether the shell has the terminal, and only let this program write to it."""
        try:
            return os.tcgetpgrp(self._stream.fileno()) != os.getpgrp()
        except (OSError, ValueError, AttributeError):
            return False

    # --- what others write ---

    def _hook(self) -> None:
        """Give way to whoever writes to the terminal.

        It is the streams that are asked to, not `sys.stderr` and `sys.stdout` that are
        replaced: handlers of the log keep the stream that they were made with.
        """
        if self._hooked:
            return
        streams = [self._stream]
        if sys.stdout is not self._stream and _is_terminal(sys.stdout):
            streams.append(sys.stdout)
        for stream in streams:
            hook = self._giving_way(stream.write, stream.flush)
            before = getattr(stream, "__dict__", {}).get("write")
            with suppress(AttributeError):
                stream.write = hook
                self._hooked.append((stream, hook, before))

    def _unhook(self) -> None:
        while self._hooked:
            stream, hook, before = self._hooked.pop()
            # Who took it over meanwhile keeps it; the hook lets all pass from now on.
            if getattr(stream, "__dict__", {}).get("write") is hook:
                if before is None:
                    del stream.write
                else:
                    stream.write = before

    def _giving_way(
        self, write: Callable[[str], int], flush: Callable[[], object]
    ) -> Callable[[str], int]:
        def write_aside(text: str) -> int:
            # A forked child has neither the thread that draws nor, maybe, the lock.
            is_ours = self._hooked and self._pid == os.getpid()
            if not text or not is_ours or self._is_in_background():
                return write(text)
            with self._lock:
                # What is printed may go elsewhere than to a terminal that is gone.
                if not self._is_mid_line:
                    with suppress(OSError, ValueError):
                        self._wipe()
                written = write(text)
                self._is_mid_line = not text.endswith("\n")
                if not self._is_mid_line:
                    with suppress(OSError, ValueError):
                        flush()
                        self._draw()
                return written

        return write_aside


#: How wide the bar is: the first that fits beside the text, so that it does not jump.
_BAR_CELLS: Final = (40, 20, 10)


def _cells(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


class _Cell(_Seated):
    """One display under the cell of a notebook."""

    each_s = 1.0

    def __init__(self) -> None:
        super().__init__()
        self._handle: Any = None
        self._line = ""
        # The kernel tells by the context to which cell a display belongs.
        self._context = copy_context()

    def show(self, progress: Progress) -> None:
        if self.take_seat():
            self._put(progress, progress_line(progress))

    def end(self, progress: Progress, outcome: str) -> None:
        if self.take_seat():
            self._put(progress, progress_line(progress, outcome))

    def _put(self, progress: Progress, line: str) -> None:
        if line == self._line:
            return
        from IPython.display import display

        data = {
            "text/plain": line,
            "text/html": f'<progress max="{max(progress.total, 1)}" value="{progress.done}">'
            f"</progress> {escape(line)}",
        }
        if self._handle is None:
            self._handle = self._context.run(display, data, raw=True, display_id=True)
        else:
            self._context.run(self._handle.update, data, raw=True)
        self._line = line


class _Lines:
    """Lines of the log, fewer and fewer."""

    each_s = 1.0

    def __init__(self) -> None:
        self._due_s = _LOGGED_AT_S[0]

    def show(self, progress: Progress) -> None:
        if progress.elapsed_s >= self._due_s:
            self._due_s = _next_logged_s(progress.elapsed_s)
            _log.info(progress_line(progress))

    def end(self, progress: Progress, outcome: str) -> None:
        _log.info(progress_line(progress, outcome))

    def close(self) -> None:
        pass


def _next_logged_s(elapsed_s: float) -> float:
    """Return when the log tells of it next.

    >>> [_next_logged_s(elapsed_s) for elapsed_s in (0.5, 12.0, 60.0, 300.0, 1000.0)]
    [10.0, 60.0, 300.0, 600.0, 1200.0]
    """
    early = (at_s for at_s in _LOGGED_AT_S if at_s > elapsed_s)
    return next(early, (elapsed_s // _LOGGED_EACH_S + 1) * _LOGGED_EACH_S)


# --- showing it -------------------------------------------------------------------------


def showing(name: str, total: int, before: int) -> Shown:
    """Return what shows how far a call comes; to be entered when it begins.

    It is a bar where standard error is a terminal, a display in a notebook, and lines of
    the log elsewhere and with ``USHER_LOG=quiet``. With ``USHER_PROGRESS=0`` or
    `configure(progress=False)` it is nothing.

    Args:
        name: The checkpoint.
        total: How many items it is asked for.
        before: How many of them were stored when the call began.

    >>> with showing("papers", total=2, before=0) as shown:
    ...     for done in (1, 2):
    ...         shown.update(done, failed=0, stored=done)
    """
    return Shown(name, total, before, _form())


def _form() -> _Form | None:
    if is_off("USHER_PROGRESS") or not current_run().progress:
        return None
    if not is_quiet():
        if _is_terminal(sys.stderr):
            if variable("TERM").lower() not in _DUMB:
                return _Bar(sys.stderr)
        elif _is_notebook():
            return _Cell()
    return _Lines() if _log.isEnabledFor(logging.INFO) else None


#: Terminals on which nothing can be drawn over.
_DUMB: Final = frozenset(("dumb", "unknown"))


def _is_terminal(stream: Any) -> bool:
    with suppress(AttributeError, ValueError):
        return bool(stream.isatty())
    return False


def _is_notebook() -> bool:
    if "ipykernel" not in sys.modules or "IPython" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    # A program that only imported the kernel has nowhere to display.
    return hasattr(get_ipython(), "kernel")


class Shown:
    """How far a call has come, on show.

    As a context manager it ends itself: as "interrupted" on Ctrl-C, as "stopped" on other
    errors. Nothing that goes wrong in showing it reaches the caller; where the terminal is
    gone it goes on in the log.

    Args:
        name: The checkpoint.
        total: How many items it is asked for.
        before: How many of them were stored when the call began.
        form: Where it is shown; nowhere if not given.
        clock: A clock that only goes forward, in seconds.
    """

    def __init__(
        self,
        name: str,
        total: int,
        before: int,
        form: _Form | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._name = name
        self._total = total
        self._before = before
        self._form = form
        self._clock = clock
        self._counts = 0, 0, 0
        self._began_s = self._moved_s = clock()
        self._pace = Pace()
        self._pace.add(0, self._began_s)
        self._settled = 0
        self._pid = os.getpid()
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def update(self, done: int, failed: int, stored: int) -> None:
        """Say how far it is; so cheap that it can be called for every item.

        Args:
            done: How many items this call has an answer to by now.
            failed: How many failed in it; they are none of `done`.
            stored: How many of `done` are on the disk.
        """
        self._counts = done, failed, stored

    def finish(self, outcome: str = "") -> None:
        """Show the last line, once; what was over in no time shows none.

        Args:
            outcome: How it ended, such as ``interrupted``; empty if it came to its end.
        """
        if self._is_over.is_set() or self._pid != os.getpid():
            # A forked child that ends is not the end of the call.
            return
        self._is_over.set()
        atexit.unregister(self.finish)
        try:
            if self._thread is not None:
                self._thread.join(_PATIENCE_S)
            now = self._now()
            if now.elapsed_s >= _FLASH_S:
                self._try(lambda form: form.end(now, outcome))
        finally:
            if self._form is not None:
                self._form.close()

    def __enter__(self) -> Self:
        if self._form is not None:
            # A thread that still writes when the interpreter ends would bring it down.
            atexit.register(self.finish, "stopped")
            name = f"progress of {self._name}"
            self._thread = threading.Thread(target=self._keep_showing, name=name, daemon=True)
            start_apart(self._thread)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        is_pressed = isinstance(problem, KeyboardInterrupt)
        self.finish("" if problem is None else "interrupted" if is_pressed else "stopped")

    def _keep_showing(self) -> None:
        wait_s = _FLASH_S
        while not self._is_over.wait(wait_s):
            wait_s = self._show()

    def _show(self) -> float:
        """Show how far it is, and return after how many seconds to do so again."""
        now = self._now()
        if now.elapsed_s >= _FLASH_S:
            self._try(lambda form: form.show(now))
        return self._form.each_s if self._form is not None else _LOGGED_EACH_S

    def _now(self) -> Progress:
        done, failed, stored = self._counts
        at_s = self._clock()
        if done + failed != self._settled:
            self._settled, self._moved_s = done + failed, at_s
        return Progress(
            self._name,
            self._total,
            done=self._before + done,
            failed=failed,
            stored=self._before + stored,
            per_s=self._pace.add(self._settled, at_s),
            idle_s=at_s - self._moved_s,
            elapsed_s=at_s - self._began_s,
        )

    def _try(self, act: Callable[[_Form], None]) -> None:
        """Do something where it is shown; in the log, if that can not be done there."""
        while (form := self._form) is not None:
            try:
                act(form)
            except Exception:  # noqa: BLE001 - whatever shows it may not cost the work
                form.close()
                self._form = None if isinstance(form, _Lines) else _Lines()
                _log.debug("%s: progress can not be shown", self._name, exc_info=True)
            else:
                return
