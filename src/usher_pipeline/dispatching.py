"""Many tasks, a few at a time: a rate, further attempts, time limits.

Threads take one task after another and make attempts at it until one succeeds. What a task
ended with comes to whoever iterates, in the thread that iterates, so that all else can be
done there without a lock. Nothing waits for these threads: whoever leaves, leaves them behind.

A rate is kept by spacing: no attempt begins sooner after the one before it than the rate
says, and a little more. What counts is when requests arrive at the server, and one that
travels longer than the next comes too close to it. So a second of the rate is made `_MARGIN`
longer. A rate that has been missed is not made up for.
"""

from __future__ import annotations

import contextvars
import math
import random
import threading
import time
from collections.abc import Callable, Sized
from concurrent.futures import BrokenExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from usher_pipeline.errors import OptionError
from usher_pipeline.failures import may_pass, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Executor

    from tenacity import Retrying

__all__ = [
    "Attempt",
    "Dispatch",
    "Limits",
    "Outcome",
    "in_executor",
    "in_threads",
    "may_pass",
    "retry_after_s",
]

#: So much longer than it is a second of the rate is taken to be. On one machine a request
#: travels 1 ms, and 99 of 100 less than 3 ms; with twice as many busy processes as cores
#: less than 44 ms, which 3 percent would not have covered.
_MARGIN: Final = 0.05
#: The longest first wait before a further attempt; each next one is twice as long.
_FIRST_WAIT_S: float = 1.0
_LONGEST_WAIT_S: Final = 60.0
#: How often whoever iterates is given a turn when nothing ended.
_TURN_S: Final = 0.5
#: No task begins while so many outcomes wait to be taken; how often that is looked at.
_MOST_ARRIVALS: Final = 256
_LULL_S: Final = 0.005
#: How often an idle thread looks whether the one that it serves is still there.
_LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be done at a time, how often, and for how long.

    Attributes:
        workers: At most so many attempts at a time; what a time limit left behind is not
            counted.
        rate_per_s: At most so many attempts begin in any second, evenly spaced, counted
            with those at the same task; None is no limit. It is kept with a margin: 3 are
            asked for as 2.86. Of a fraction the spacing holds: 2.5 are one in each 0.4
            seconds, so that there may be 3 in a second and never more than 5 in two; 0.2 is
            one in each five seconds.
        retries: So many further attempts after a failure that may pass.
        timeout_s: How long one attempt may take; None is no limit.
        retry_on: Tells of a failure whether it may pass; `may_pass` if None.

    Raises:
        OptionError: One of them is none of what it can be.

    >>> Limits(workers=4, rate_per_s=3, retries=5, timeout_s=30).workers
    4
    """

    workers: int = 1
    rate_per_s: float | None = None
    retries: int = 0
    timeout_s: float | None = None
    retry_on: Callable[[Exception], bool] | None = None

    def __post_init__(self) -> None:
        for option, least in (("workers", 1), ("retries", 0)):
            value = getattr(self, option)
            if type(value) is not int or value < least:
                raise _refused(option, f"a whole number, {least} or more", value)
        for option in ("rate_per_s", "timeout_s"):
            value = getattr(self, option)
            if value is not None and not (_is_number(value) and 0 < value < math.inf):
                raise _refused(option, "a number above 0, or None", value)
        if self.retry_on is not None and not callable(self.retry_on):
            raise _refused("retry_on", "a function of an exception, or None", self.retry_on)


def _refused(option: str, expected: str, got: object) -> OptionError:
    return OptionError("Limits", option, expected, repr(got))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Outcome(NamedTuple):
    """What a task ended with.

    Attributes:
        task: The task.
        value: What the work returned; None if it failed.
        problem: What it failed with at the last attempt; None if it did not.
        attempts: How many attempts were made at it.
        ended_s: When it ended, as `time.monotonic` tells.
    """

    task: Any
    value: Any
    problem: BaseException | None
    attempts: int
    ended_s: float


class Attempt(Protocol):
    """Makes one attempt at a task."""

    def __call__(self, task: Any, timeout_s: float | None) -> Any:
        """Return what the work returns.

        Raises:
            TimeoutError: It took longer than that.
        """


# --- where the work is done -------------------------------------------------------------


def in_threads(work: Callable[[Any], Any]) -> Attempt:
    """Return attempts that are made in the thread that asks for them.

    Where there is a time limit a daemon thread beside it works, always the same one, so
    that what the work keeps for a thread, such as a session, is kept. When the limit has
    passed it is left behind, and the next attempt has another one.

    Args:
        work: Given a task.

    >>> in_threads(abs)(-1, timeout_s=10)
    1
    """
    own = threading.local()

    def attempt(task: Any, timeout_s: float | None) -> Any:
        if timeout_s is None:
            return work(task)
        beside: _Beside | None = getattr(own, "beside", None)
        if beside is None or beside.is_left:
            beside = own.beside = _Beside(work)
        return beside.result(task, timeout_s)

    return attempt


class _Beside:
    """A thread that works for the one that made it, and ends when that has ended.

    Args:
        work: Given a task.
    """

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.is_left = False
        self._work = work
        self._asked: SimpleQueue[tuple[contextvars.Context, Any]] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._owner = threading.current_thread()
        _start(self._serve, "usher-attempts")

    def result(self, task: Any, timeout_s: float) -> Any:
        """Return what the work returns.

        Raises:
            TimeoutError: It took longer; this thread is left behind.
        """
        self._asked.put((contextvars.copy_context(), task))
        try:
            value, problem = self._answers.get(timeout=timeout_s)
        except Empty:
            self.is_left = True
            raise _too_long(timeout_s, "it was left behind and may still be running") from None
        if problem is not None:
            raise problem
        return value

    def _serve(self) -> None:
        while not self.is_left and self._owner.is_alive():
            with suppress(Empty):
                context, task = self._asked.get(timeout=_LOOK_S)
                self._answers.put(self._answer(context, task))

    def _answer(
        self, context: contextvars.Context, task: Any
    ) -> tuple[Any, BaseException | None]:
        try:
            return context.run(self._work, task), None
        except BaseException as problem:  # noqa: BLE001 - it is raised where it is waited for
            return None, problem


def in_executor(executor: Executor, work: Callable[[Any], Any]) -> Attempt:
    """Return attempts that an executor makes.

    A time limit counts from when the executor was asked, so it should have as many workers
    as there are attempts at a time. When the limit has passed the attempt is cancelled; if
    it had begun, it keeps a worker of the executor busy until it ends. What is left behind
    is waited for when the interpreter ends, as all that an executor runs.

    Args:
        executor: Of whatever library; its own to end.
        work: Given a task.

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor() as threads:
    ...     in_executor(threads, abs)(-1, timeout_s=10)
    1
    """

    def attempt(task: Any, timeout_s: float | None) -> Any:
        future = executor.submit(work, task)
        # Its own `result` does not tell the limit from a TimeoutError of the work.
        if timeout_s is not None and not wait([future], timeout_s).done:
            was_pending = future.cancel()
            state = "it had not begun" if was_pending else "it may still be running"
            raise _too_long(timeout_s, state)
        return future.result()

    return attempt


def _too_long(timeout_s: float, state: str) -> TimeoutError:
    return TimeoutError(f"the attempt took longer than {timeout_s:g} s; {state}")


def _start(target: Callable[[], None], name: str) -> None:
    threading.Thread(target=target, name=name, daemon=True).start()


# --- when an attempt may begin ----------------------------------------------------------


def _spacing_s(rate_per_s: float | None) -> float:
    """Return how long after an attempt the next one may begin."""
    return 0.0 if rate_per_s is None else (1 + _MARGIN) / rate_per_s


class _Gate:
    """Lets attempts begin: one after another, and none in a pause that a server asked for.

    Args:
        spacing_s: How long after one the next may begin.
        is_ended: Waits so many seconds, unless all is to end, and tells whether it is.
        clock_s: What time it is.
    """

    def __init__(
        self,
        spacing_s: float,
        is_ended: Callable[[float], bool],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spacing_s = spacing_s
        self._is_ended = is_ended
        self._clock_s = clock_s
        self._next_s = self._paused_until_s = -math.inf
        self._queue = threading.Lock()
        self._pausing = threading.Lock()

    def let_in(self) -> bool:
        """Wait until an attempt may begin; return False if all is to end instead."""
        # One thread waits for the clock, the others for that thread. What counts is when
        # an attempt really begins, so that one that wakes late does not come too close to
        # the one after it.
        with self._queue:
            while not self._is_ended(0):
                now_s = self._clock_s()
                due_s = max(self._next_s, self._paused_until_s)
                if now_s >= due_s:
                    self._next_s = now_s + self._spacing_s
                    return True
                self._is_ended(due_s - now_s)
            return False

    def pause(self, pause_s: float) -> None:
        """Let no attempt begin for some time, or for longer if that was asked for before."""
        with self._pausing:
            self._paused_until_s = max(self._paused_until_s, self._clock_s() + pause_s)


# --- the tasks --------------------------------------------------------------------------


class _NotBegunError(BaseException):
    """All was to end before the first attempt at a task."""


class _Call:
    """The attempts at one task.

    Args:
        attempt: Makes one.
        gate: Lets it begin.
        task: At what.
        timeout_s: How long one may take.
    """

    def __init__(
        self, attempt: Attempt, gate: _Gate, task: Any, timeout_s: float | None
    ) -> None:
        self.attempts = 0
        self.problem: Exception | None = None
        self._attempt = attempt
        self._gate = gate
        self._task = task
        self._timeout_s = timeout_s

    def __call__(self) -> Any:
        """Return what the next attempt returns.

        Raises:
            Exception: It failed; or all is to end, and that is what the last one failed with.
        """
        if not self._gate.let_in():
            raise self.problem or _NotBegunError
        self.attempts += 1
        try:
            return self._attempt(self._task, self._timeout_s)
        except Exception as problem:
            self.problem = problem
            pause_s = retry_after_s(problem)
            if pause_s is not None:
                # It was said to one and is meant for all.
                self._gate.pause(pause_s)
            raise


#: A thread has come to its end.
_END: Final = None


class Dispatch:
    """The outcomes of many tasks, in the order in which they end.

    Threads are started as tasks are found for them, and work in copies of the context in
    which this was made. A task is taken when a thread is free for it, in that thread. Of
    tasks whose number is not known one more thread may be started, which finds none.

    Args:
        attempt: Makes one attempt at a task.
        tasks: What is to be done; they need not be known before.
        limits: How much at a time, how often, for how long.
        stops_at_failure: Whether no further task begins once one has failed.

    >>> sorted(each.value for each in Dispatch(in_threads(abs), [-1, -2], Limits()) if each)
    [1, 2]
    """

    def __init__(
        self,
        attempt: Attempt,
        tasks: Iterable[Any],
        limits: Limits,
        *,
        stops_at_failure: bool = False,
    ) -> None:
        self._attempt = attempt
        self._stops_at_failure = stops_at_failure
        self._limits = limits
        self._thread_limit = limits.workers
        if isinstance(tasks, Sized):
            self._thread_limit = min(limits.workers, len(tasks))
        self._tasks = iter(tasks)
        self._taking = threading.Lock()
        self._ended = threading.Event()
        self._gate = _Gate(_spacing_s(limits.rate_per_s), self._is_ended)
        self._retrying = _retrying(limits, self._ended) if limits.retries else None
        self._context = contextvars.copy_context()
        self._arrivals: SimpleQueue[Outcome | BaseException | None] = SimpleQueue()
        #: What the tasks themselves failed with.
        self._failure: BaseException | None = None
        self._started_count = self._ended_count = 0

    def __iter__(self) -> Iterator[Outcome | None]:
        """Yield what each task ended with, or None where nothing came for half a second.

        Whoever stops to iterate calls `stop` by that.

        Raises:
            BaseException: Taking a task failed: raised when all that ran has ended. Or an
                attempt, or `retry_on`, raised what is not for a task but for the whole, such
                as KeyboardInterrupt or a broken executor: raised at once.
        """
        try:
            if not self._started_count:
                self._start_another()
            while not self._is_over():
                arrived = self._next(time.monotonic() + _TURN_S)
                if isinstance(arrived, BaseException):
                    raise arrived
                if arrived is not None or not self._is_over():
                    yield arrived
        finally:
            self.stop()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Let no further task begin, and no further attempt.

        A task that waits for one ends with what it last failed with; one that never began
        has no outcome. What runs goes on to its end.
        """
        self._ended.set()

    def leave(self, grace_s: float) -> Iterator[Outcome]:
        """Stop, and have what still ends in some time; what does not is left behind.

        Nothing is raised any more that would have ended the whole: it has ended.

        Args:
            grace_s: For how long, from now.
        """
        self.stop()
        return self._remaining(time.monotonic() + grace_s)

    def _remaining(self, until_s: float) -> Iterator[Outcome]:
        while (arrived := self._next(until_s)) is not None:
            if isinstance(arrived, Outcome):
                yield arrived

    def _is_over(self) -> bool:
        # A thread is counted by the one that starts it, before that one ends.
        return self._ended_count == self._started_count

    def _is_ended(self, wait_s: float) -> bool:
        return self._ended.wait(wait_s) if wait_s else self._ended.is_set()

    def _next(self, until_s: float) -> Outcome | BaseException | None:
        """Return what arrives next; None if nothing does until then, or ever."""
        while not self._is_over():
            try:
                arrived = self._arrivals.get(timeout=max(0.0, until_s - time.monotonic()))
            except Empty:
                return None
            if arrived is not _END:
                return arrived
            self._ended_count += 1
        return None

    # --- what the threads do ---

    def _start_another(self) -> None:
        if self._started_count < self._thread_limit and not self._ended.is_set():
            self._started_count += 1
            context = self._context.copy()
            try:
                _start(lambda: context.run(self._work), "usher-dispatch")
            except RuntimeError:
                self._started_count -= 1
                raise

    def _work(self) -> None:
        try:
            for task in self._taken():
                outcome = self._outcome(task)
                if outcome is not None:
                    if outcome.problem is not None and self._stops_at_failure:
                        # Here, and not where it is heard of: the next task would have begun.
                        self.stop()
                    self._arrivals.put(outcome)
        except BaseException as problem:  # noqa: BLE001 - it is raised to whoever iterates
            self.stop()
            self._arrivals.put(problem)
        finally:
            self._arrivals.put(_END)

    def _taken(self) -> Iterator[Any]:
        """Yield task after task; each gives rise to another thread, while there may be more."""
        while True:
            while self._arrivals.qsize() > _MOST_ARRIVALS and not self._ended.wait(_LULL_S):
                # Whoever iterates is slower than all that is asked, and memory is finite.
                pass
            with self._taking:
                try:
                    if self._ended.is_set():
                        return
                    task = next(self._tasks)
                except StopIteration:
                    return
                except BaseException as problem:  # noqa: BLE001 - raised to whoever iterates
                    self._failure = problem
                    self.stop()
                    return
                # Where there can be no more threads, fewer do as well.
                with suppress(RuntimeError):
                    self._start_another()
            yield task

    def _outcome(self, task: Any) -> Outcome | None:
        call = _Call(self._attempt, self._gate, task, self._limits.timeout_s)
        value = problem = None
        try:
            value = call() if self._retrying is None else self._retrying(call)
        except _NotBegunError:
            return None
        except BrokenExecutor:
            # No other task would fare better.
            raise
        except Exception as raised:
            if raised is not call.problem:
                raise
            problem = raised
        finally:
            # It holds the frames of the attempt, and these hold the call.
            call.problem = None
        return Outcome(task, value, problem, call.attempts, time.monotonic())


def _retrying(limits: Limits, ended: threading.Event) -> Retrying:
    """Return what makes attempts until one succeeds or no other is worth it."""
    import tenacity

    passes = may_pass if limits.retry_on is None else limits.retry_on
    widening = tenacity.wait_exponential(multiplier=_FIRST_WAIT_S, max=_LONGEST_WAIT_S)
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda it: isinstance(it, Exception) and passes(it)),
        # What failed together shall not come back together.
        wait=lambda state: widening(state) * random.uniform(0.5, 1),  # noqa: S311
        stop=tenacity.stop_any(
            tenacity.stop_after_attempt(limits.retries + 1), tenacity.stop_when_event_set(ended)
        ),
        sleep=tenacity.sleep_using_event(ended),
        reraise=True,
    )
