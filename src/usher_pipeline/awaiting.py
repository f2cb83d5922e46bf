"""Asynchronous functions: they run on their loop, and the store works in a thread beside it.

A call takes a thread of its own, in which all happens that a plain call does: the look-up,
the wait for others who compute the same, the save. The function itself is run by the loop
that asked, as a task that inherits what the thread knows of the calls around it, and the
thread waits for that. No pool is used: calls that wait for calls would fill it. But no more
than a few of these threads work at a time, those that wait for something not counted: with
many of them a loop would hardly get its turn.

Every call comes by here, and few have a loop: asyncio is loaded where there is one.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final

from usher_pipeline.inherited import inherit, start_apart
from usher_pipeline.interrupts import ended_by

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures
    from collections.abc import Callable, Coroutine, Iterator

__all__ = ["answered", "aside", "result_of"]

#: How often a thread looks whether the loop that it waits for is still there.
_LOOK_S: Final = 1.0
#: How long the thread that starts others waits for the next call.
_IDLE_S: Final = 1.0
_PAUSE_S: Final = 0.05
#: So many threads work beside loops at a time.
_MOST_AT_WORK: Final = 2
_AT_WORK = threading.Semaphore(_MOST_AT_WORK)


class _Starter:
    """Starts the threads of calls, for loops that have no time for that.

    To start a thread is to wait until it runs, and that may be for as long as all others
    have something to do. Nor is one started before it may work.
    """

    def __init__(self) -> None:
        self._asked: SimpleQueue[threading.Thread] = SimpleQueue()
        self._lock = threading.Lock()
        self._is_there = False

    def start(self, thread: threading.Thread) -> None:
        """Have a thread started soon."""
        with self._lock:
            if not self._is_there:
                starter = threading.Thread(
                    target=self._serve, name="usher-starter", daemon=True
                )
                start_apart(starter)
                self._is_there = True
            self._asked.put(thread)

    def _serve(self) -> None:
        while True:
            try:
                thread = self._asked.get(timeout=_IDLE_S)
            except Empty:
                with self._lock:
                    if self._asked.empty():
                        self._is_there = False
                        return
                continue
            _AT_WORK.acquire()
            try:
                start_apart(thread)
            except RuntimeError:
                # There can be no more threads for now; some of those that there are will end.
                _AT_WORK.release()
                self._asked.put(thread)
                time.sleep(_PAUSE_S)
            del thread


_starter = _Starter()


def _start_again() -> None:
    """Begin anew in a forked child, in which no thread of the parent runs."""
    global _starter, _AT_WORK
    _starter, _AT_WORK = _Starter(), threading.Semaphore(_MOST_AT_WORK)


os.register_at_fork(after_in_child=_start_again)


class _Beside:
    """The thread of a call, as its loop sees it, and the loop as the thread does.

    Args:
        loop: The loop that asked.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.lock = threading.Lock()
        self.running: set[concurrent.futures.Future[Any]] = set()
        self.is_cancelled = False

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout_s: float | None = None) -> Any:
        """Have the loop run a coroutine, and wait for what it returns."""
        import asyncio

        limited = coroutine if timeout_s is None else _limited(coroutine, timeout_s)
        with self.lock:
            if self.is_cancelled:
                limited.close()
                coroutine.close()
            self.check()
            running = asyncio.run_coroutine_threadsafe(limited, self.loop)
            self.running.add(running)
        try:
            with aside():
                return self._result(running, coroutine)
        finally:
            self.running.discard(running)

    def _result(
        self,
        running: concurrent.futures.Future[Any],
        coroutine: Coroutine[Any, Any, Any],
    ) -> Any:
        import asyncio
        import concurrent.futures

        while True:
            try:
                return running.result(_LOOK_S)
            except concurrent.futures.CancelledError:
                raise asyncio.CancelledError from None
            except TimeoutError:
                if running.done():
                    # It is the function that ran into a time limit.
                    raise
                if self.loop.is_closed():
                    # It was begun or not, and will never go on.
                    coroutine.close()
                    raise RuntimeError("the event loop was closed during the call") from None

    def check(self) -> None:
        """Raise if the call was cancelled."""
        if self.is_cancelled:
            import asyncio

            raise asyncio.CancelledError

    def cancel(self) -> None:
        """Cancel the function, or keep it from being begun; what waits ends as well."""
        with self.lock:
            self.is_cancelled = True
            for running in tuple(self.running):
                running.cancel()


@contextmanager
def aside() -> Iterator[None]:
    """Let other threads beside loops work during the block, in which this one only waits."""
    is_beside = getattr(_own, "is_beside", False)
    if is_beside:
        _AT_WORK.release()
    try:
        yield
    finally:
        if is_beside:
            _AT_WORK.acquire()


#: What a thread knows of itself.
_own: Final = threading.local()
_beside: Final[contextvars.ContextVar[_Beside | None]] = contextvars.ContextVar(
    "usher_beside", default=None
)


async def answered(work: Callable[[], Any]) -> Any:
    """Return what some work returns that is done in a thread beside the running loop.

    Args:
        work: What to do; where it calls `result_of`, the loop runs that coroutine.

    Raises:
        asyncio.CancelledError: The caller was cancelled; the function as well, and the work
            has come to its end.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    beside, context = _Beside(loop), contextvars.copy_context()
    context.run(_beside.set, beside)
    context.run(ended_by, beside.check)
    done: asyncio.Future[Any] = loop.create_future()

    def tell(set_it: Callable[[Any], None], value: Any) -> None:
        if not done.done():
            set_it(value)

    def thread() -> None:
        # Whoever started it took its place among those that work.
        _own.is_beside = True
        try:
            told, value = done.set_result, context.run(work)
        except BaseException as problem:  # noqa: BLE001 - it is raised where it is awaited
            told, value = done.set_exception, _raisable(problem)
        finally:
            _AT_WORK.release()
        with suppress(RuntimeError):
            # The loop may be closed by now, and nobody ask any more.
            loop.call_soon_threadsafe(tell, told, value)

    _starter.start(inherit(threading.Thread(target=thread, name="usher-beside")))
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        beside.cancel()
        await asyncio.wait([done])
        # Whatever it ended with, nobody asks any more.
        done.exception()
        raise
    except _Cancelled:
        raise asyncio.CancelledError from None


class _Cancelled(Exception):  # noqa: N818 - it never leaves this module
    """The function was cancelled; a future may not be given that as an exception."""


def _raisable(problem: BaseException) -> BaseException:
    import asyncio

    if isinstance(problem, asyncio.CancelledError):
        return _Cancelled()
    if isinstance(problem, StopIteration):
        return RuntimeError("the function raised StopIteration")
    return problem


async def _limited(coroutine: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
    """Return what a coroutine returns, if it does in some time."""
    import asyncio

    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return await coroutine
    except TimeoutError:
        if limit.expired():
            words = f"the attempt took longer than {timeout_s:g} s; it was cancelled"
            raise TimeoutError(words) from None
        raise


def result_of(coroutine: Coroutine[Any, Any, Any], timeout_s: float | None = None) -> Any:
    """Return what a coroutine returns, run by the loop beside which this thread works.

    Args:
        coroutine: What is awaited.
        timeout_s: How long it may take, in seconds; None is no limit.

    Raises:
        RuntimeError: There is no such loop.
        TimeoutError: It took longer, and was cancelled.
    """
    beside = _beside.get()
    if beside is None:
        coroutine.close()
        raise RuntimeError("an asynchronous checkpoint is awaited where a loop runs")
    return beside.run(coroutine, timeout_s)
