"""Many tasks through a few threads: each ends once, within its limits, and says how."""

from __future__ import annotations

import contextvars
import json
import math
import operator
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import usher_pipeline
from usher_pipeline import dispatching
from usher_pipeline.dispatching import (
    Attempt,
    Dispatch,
    Limits,
    Outcome,
    in_executor,
    in_threads,
)
from usher_pipeline.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

#: Nothing in a test takes that long: who waits for it waits for ever.
LONG_S: Final = 10.0**6


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make further attempts at once, and give turns often."""
    monkeypatch.setattr(dispatching, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(dispatching, "_TURN_S", 0.01)
    monkeypatch.setattr(dispatching, "_LOOK_S", 0.01)


@pytest.fixture
def freed() -> Iterator[threading.Event]:
    """Free at the end what a test lets wait."""
    event = threading.Event()
    yield event
    event.set()


def outcomes(
    work: Callable[[Any], Any], tasks: Iterable[Any], limits: Limits | None = None
) -> dict[Any, Outcome]:
    """Return what each task ended with."""
    dispatch = Dispatch(in_threads(work), tasks, limits or Limits())
    ended = [each for each in dispatch if each is not None]
    assert len({each.task for each in ended}) == len(ended)
    return {each.task: each for each in ended}


def come(dispatched: Iterator[Outcome | None]) -> Outcome:
    """Return the next outcome."""
    return next(each for each in dispatched if each is not None)


def failing(times: int, problem: Exception) -> Callable[[Any], Any]:
    """Return work that fails so often for each task, and then returns it."""
    tried: Counter[Any] = Counter()

    def work(task: Any) -> Any:
        tried[task] += 1
        if tried[task] <= times:
            raise problem
        return task

    return work


# --- limits -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("workers", value) for value in (0, -1, 1.0, True, None, "4", math.inf)),
        *(("retries", value) for value in (-1, 0.5, False, None)),
        *(("rate_per_s", value) for value in (0, -1, math.nan, math.inf, True, "3")),
        *(("timeout_s", value) for value in (0, -1, math.nan, math.inf, True, "3")),
        ("retry_on", ConnectionError()),
    ],
)
def test_a_limit_that_can_not_be_is_refused(option: str, value: object) -> None:
    """The error names the option, and what it can be."""
    with pytest.raises(OptionError, match=rf"{option}=\.\.\.\) expected a .*, got ") as caught:
        Limits(**{option: value})  # type: ignore[arg-type]
    assert caught.value.option == option


def test_limits_may_be_left_out() -> None:
    """By itself one call is made at a time, once, however long it takes."""
    assert Limits() == Limits(1, None, 0, None, None)
    assert Limits(2, 0.2, 5, 0.5, bool).workers == 2


# --- outcomes ---------------------------------------------------------------------------


@given(st.lists(st.integers(), unique=True), st.integers(1, 5), st.booleans())
def test_every_task_ends_once(tasks: list[int], workers: int, is_lazy: bool) -> None:  # noqa: FBT001
    """All tasks are done, once each, by however many workers and however they come."""
    given_as = iter(tasks) if is_lazy else tasks
    ended = outcomes(operator.neg, given_as, Limits(workers))
    assert {task: each.value for task, each in ended.items()} == {each: -each for each in tasks}
    assert {each.attempts for each in ended.values()} <= {1}
    assert {each.problem for each in ended.values()} <= {None}


def test_a_failure_is_an_outcome() -> None:
    """What a task fails with comes with it, and the others are done."""
    before = time.monotonic()
    ended = outcomes(lambda task: 1 / task, [0, 1])
    assert isinstance(ended[0].problem, ZeroDivisionError)
    assert ended[0].value is None
    assert ended[1][1:4] == (1.0, None, 1)
    assert before <= ended[0].ended_s <= ended[1].ended_s <= time.monotonic()


def test_they_come_in_the_order_in_which_they_end(freed: threading.Event) -> None:
    """A task that takes long keeps nobody from what ended meanwhile."""

    def work(task: str) -> None:
        if task == "slow":
            freed.wait()

    dispatched = iter(Dispatch(in_threads(work), ["slow", "quick"], Limits(2)))
    assert come(dispatched).task == "quick"
    freed.set()
    assert come(dispatched).task == "slow"
    assert [*filter(None, dispatched)] == []


def test_whoever_iterates_has_a_turn(freed: threading.Event) -> None:
    """While nothing ends there is None, time and again."""
    dispatched = iter(Dispatch(in_threads(lambda _: freed.wait()), [1], Limits()))
    assert [next(dispatched) for _ in range(3)] == [None] * 3
    freed.set()
    assert come(dispatched).task == 1


def test_nothing_comes_but_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody had to wait for half a second there is no None, at the end neither."""
    monkeypatch.setattr(dispatching, "_TURN_S", LONG_S)
    assert all([*Dispatch(in_threads(abs), iter(range(50)), Limits(3))])
    assert [*Dispatch(in_threads(abs), [], Limits(3))] == []
    assert [*Dispatch(in_threads(abs), iter([]), Limits(3))] == []


# --- tasks and threads ------------------------------------------------------------------


def test_a_task_is_taken_when_somebody_is_free_for_it(freed: threading.Event) -> None:
    """Of tasks without end no more are taken than are worked at."""
    taken: list[int] = []
    began = threading.Semaphore(0)

    def tasks() -> Iterator[int]:
        for each in count():
            taken.append(each)
            yield each

    def work(_: int) -> None:
        began.release()
        freed.wait()

    dispatch = Dispatch(in_threads(work), tasks(), Limits(3))
    dispatched = iter(dispatch)
    assert next(dispatched) is None
    for _ in range(3):
        began.acquire()
    assert taken == [0, 1, 2]
    freed.set()
    assert sorted(each.task for each in dispatch.leave(LONG_S)) == [0, 1, 2]


@pytest.mark.parametrize(("workers", "expected"), [(2, 2), (3, 3), (9, 3)])
def test_so_many_work_at_a_time(workers: int, expected: int, freed: threading.Event) -> None:
    """As many as there are workers are at work, and not more than there are tasks."""
    began = threading.Semaphore(0)

    def work(_: int) -> None:
        began.release()
        freed.wait()

    before = {*threading.enumerate()}
    dispatched = iter(Dispatch(in_threads(work), [1, 2, 3], Limits(workers)))
    next(dispatched)
    for _ in range(expected):
        began.acquire()
    assert len({*threading.enumerate()} - before) == expected
    assert not began.acquire(blocking=False)
    freed.set()
    assert len([*filter(None, dispatched)]) == 3


@pytest.mark.parametrize("timeout_s", [None, LONG_S])
def test_the_work_sees_the_context_of_its_maker(timeout_s: float | None) -> None:
    """Context variables reach the threads, and what the work sets there stays there."""
    seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")
    token = seen.set("the maker's")

    def work(_: int) -> str:
        value = seen.get()
        seen.set("the work's")
        return value

    dispatch = Dispatch(in_threads(work), [1], Limits(timeout_s=timeout_s))
    seen.reset(token)
    assert [each.value for each in dispatch if each] == ["the maker's"]
    assert seen.get() == "nothing"


@pytest.mark.parametrize("timeout_s", [None, LONG_S])
def test_a_thread_keeps_what_is_its_own(timeout_s: float | None) -> None:
    """With a time limit or without, what the work keeps for its thread is kept."""
    ended = outcomes(lambda _: threading.get_ident(), range(5), Limits(timeout_s=timeout_s))
    assert len({each.value for each in ended.values()}) == 1


def test_tasks_that_fail_are_an_error_for_whoever_iterates(freed: threading.Event) -> None:
    """What was begun ends first and is an outcome; then their error is raised."""
    began = threading.Semaphore(0)

    def tasks() -> Iterator[int]:
        yield 1
        yield 2
        for _ in range(2):
            began.acquire()
        raise LookupError("no third")

    def work(_: int) -> None:
        began.release()
        freed.wait()

    dispatched = iter(Dispatch(in_threads(work), tasks(), Limits(3)))
    assert next(dispatched) is None
    freed.set()
    assert {come(dispatched).task, come(dispatched).task} == {1, 2}
    with pytest.raises(LookupError, match="no third"):
        come(dispatched)


def test_after_tasks_failed_none_is_taken() -> None:
    """What could go on after its error is not asked to."""

    class Resuming:
        """Fails once."""

        numbers = count()

        def __iter__(self) -> Iterator[int]:
            return self

        def __next__(self) -> int:
            if (number := next(self.numbers)) == 3:
                raise LookupError("no third")
            return number

    tasks = Resuming()
    with pytest.raises(LookupError, match="no third"):
        list(Dispatch(in_threads(abs), tasks, Limits(2)))
    assert next(tasks) == 4


@pytest.mark.parametrize("timeout_s", [None, LONG_S])
@pytest.mark.parametrize("problem", [KeyboardInterrupt, SystemExit])
def test_what_is_meant_for_the_whole_ends_it(
    problem: type[BaseException], timeout_s: float | None
) -> None:
    """Ctrl-C and exit in the work are no outcome: they are raised, and no task begins."""
    began: list[int] = []

    def work(task: int) -> None:
        began.append(task)
        raise problem(str(task))

    limits = Limits(retries=9, timeout_s=timeout_s, retry_on=lambda _: True)
    with pytest.raises(problem, match="0"):
        [*Dispatch(in_threads(work), count(), limits)]
    assert began == [0]


def test_the_wait_ends_with_ctrl_c(
    freed: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The main thread is not deaf while it waits, and what was begun can be had."""
    monkeypatch.setattr(dispatching, "_TURN_S", LONG_S)

    def work(_: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        freed.wait()

    dispatch = Dispatch(in_threads(work), [1, 2], Limits())
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        come(iter(dispatch))
    freed.set()
    assert [each.task for each in dispatch.leave(LONG_S)] == [1]


@pytest.mark.parametrize(
    ("tasks", "expected"),
    [([], 0), ([1], 1), ([1, 2], 2), (iter([1, 2]), 3), (range(99), 4), (iter(range(99)), 4)],
)
def test_no_thread_is_started_for_nothing(
    tasks: Iterable[int], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are no more threads than tasks, and one more where these are not counted."""
    started: list[str] = []
    start = dispatching._start

    def noting(target: Callable[[], None], name: str) -> None:
        started.append(name)
        start(target, name)

    monkeypatch.setattr(dispatching, "_start", noting)
    outcomes(abs, tasks, Limits(4))
    assert len(started) == expected


def test_fewer_threads_do_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no more threads can be had one does all; where none can, it is said."""
    start = dispatching._start

    def refusing(target: Callable[[], None], name: str) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("can't start new thread")
        start(target, name)

    monkeypatch.setattr(dispatching, "_start", refusing)
    assert sorted(outcomes(abs, range(9), Limits(4))) == [*range(9)]

    def refused(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(dispatching, "_start", refused)
    dispatch = Dispatch(in_threads(abs), [1], Limits())
    with pytest.raises(RuntimeError, match="can't start new thread"):
        list(dispatch)
    assert [*dispatch.leave(LONG_S)] == []


# --- further attempts -------------------------------------------------------------------


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_what_may_pass_is_tried_again(failures: int) -> None:
    """Attempts are made until one succeeds, and counted."""
    ended = outcomes(failing(failures, ConnectionResetError()), [7, 8], Limits(2, retries=3))
    assert [ended[task][1:4] for task in (7, 8)] == [(t, None, failures + 1) for t in (7, 8)]


def test_threads_do_not_mix_their_attempts() -> None:
    """Many threads at once make as many attempts at each task as that one needs."""
    tried: Counter[int] = Counter()

    def work(task: int) -> int:
        tried[task] += 1
        if tried[task] <= task % 4:
            raise ConnectionError(task)
        return task

    ended = outcomes(work, range(400), Limits(8, retries=2))
    assert {t: (each.attempts, str(each.problem)) for t, each in ended.items()} == {
        t: (min(t % 4 + 1, 3), str(t) if t % 4 == 3 else "None") for t in range(400)
    }


def test_attempts_come_to_an_end() -> None:
    """What fails once more than there are retries failed, with its last problem."""
    problems = iter([ConnectionError("1"), ConnectionError("2"), ConnectionError("3")])

    def work(_: int) -> None:
        raise next(problems)

    ended = outcomes(work, [1], Limits(retries=2))
    assert (repr(ended[1].problem), ended[1].attempts) == ("ConnectionError('3')", 3)


def test_what_lasts_is_not_tried_again() -> None:
    """An error that another attempt would meet again is final at once."""
    assert outcomes(failing(1, KeyError("x")), [1], Limits(retries=5))[1].attempts == 1


def test_what_may_pass_can_be_said() -> None:
    """`retry_on` decides in place of `may_pass`."""
    limits = Limits(retries=5, retry_on=lambda problem: isinstance(problem, KeyError))
    assert outcomes(failing(2, KeyError("x")), [1], limits)[1].attempts == 3
    assert outcomes(failing(2, ConnectionError()), [1], limits)[1].attempts == 1


def test_an_error_in_what_decides_ends_the_whole() -> None:
    """A mistake in `retry_on` is no failure of a task."""

    def retry_on(_: Exception) -> bool:
        raise LookupError("a mistake")

    with pytest.raises(LookupError, match="a mistake"):
        outcomes(failing(1, KeyError("x")), [1, 2], Limits(retries=5, retry_on=retry_on))


def test_waits_grow_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first wait is half a second to one, each next one twice that, at most a minute."""
    monkeypatch.setattr(dispatching, "_FIRST_WAIT_S", 1.0)
    waited: list[float] = []
    ended = threading.Event()
    retrying = dispatching._retrying(Limits(retries=9), ended)
    retrying.sleep = waited.append
    with pytest.raises(ConnectionError, match=r"^$"):
        retrying(failing(99, ConnectionError()), 1)
    most = [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert [m / 2 <= w <= m for w, m in zip(waited, most, strict=True)] == [True] * 9
    assert len({w / m for w, m in zip(waited, most, strict=True)}) > 1


# --- time limits ------------------------------------------------------------------------


def test_what_takes_too_long_is_left_behind(freed: threading.Event) -> None:
    """A passed limit is a failure that says so; the thread can go on to the next task."""
    waiting = in_threads(lambda task: freed.wait() if task == "hangs" else task)

    def attempt(task: str, timeout_s: float | None) -> Any:
        return waiting(task, timeout_s if task == "hangs" else LONG_S)

    dispatch = Dispatch(attempt, ["hangs", "answers"], Limits(timeout_s=0.2))
    ended = {each.task: each for each in dispatch if each}
    assert repr(ended["hangs"].problem) == (
        "TimeoutError('the attempt took longer than 0.2 s; "
        "it was left behind and may still be running')"
    )
    assert ended["answers"].value == "answers"


def test_a_late_answer_is_nobodys(freed: threading.Event) -> None:
    """What a left-behind attempt returns at last is not taken for that of another task."""
    attempt = in_threads(lambda task: freed.wait() if task == "late" else task)
    with pytest.raises(TimeoutError, match=r"longer than 0\.01 s"):
        attempt("late", 0.01)
    freed.set()
    assert [attempt(each, LONG_S) for each in range(20)] == [*range(20)]


def test_no_thread_outlives_its_use() -> None:
    """The threads that worked, and those beside them, end."""
    before = {*threading.enumerate()}
    outcomes(abs, range(9), Limits(3, timeout_s=LONG_S))
    wait_for_the_end_of_threads_but(before)


def test_a_time_limit_of_the_work_is_its_own() -> None:
    """A TimeoutError that the work raises is passed on as it is."""
    ended = outcomes(failing(1, TimeoutError("of the work")), [1], Limits(timeout_s=LONG_S))
    assert repr(ended[1].problem) == "TimeoutError('of the work')"


# --- stop and leave ---------------------------------------------------------------------


def lasting(work: Callable[[Any], Any], limits: Limits) -> tuple[Dispatch, Iterator[Any]]:
    """Return the dispatch of three tasks, and its iterator."""
    dispatch = Dispatch(in_threads(work), [0, 1, 2], limits)
    return dispatch, iter(dispatch)


def test_stop_ends_the_wait_for_the_rate() -> None:
    """A task that waited for its turn never began, and has no outcome."""
    dispatch, dispatched = lasting(abs, Limits(3, rate_per_s=1 / LONG_S))
    come(dispatched)
    dispatch.stop()
    assert [*filter(None, dispatched)] == []


def test_stop_ends_the_wait_for_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that waited for another attempt ends with what it failed with."""
    monkeypatch.setattr(dispatching, "_FIRST_WAIT_S", LONG_S)
    monkeypatch.setattr(dispatching, "_LONGEST_WAIT_S", LONG_S)
    failed = threading.Semaphore(0)

    def work(_: int) -> None:
        failed.release()
        raise ConnectionError("for now")

    dispatch, dispatched = lasting(work, Limits(2, retries=10**9))
    assert next(dispatched) is None
    for _ in range(2):
        failed.acquire()
    dispatch.stop()
    ended = [*filter(None, dispatched)]
    assert sorted((each.task, each.attempts, str(each.problem)) for each in ended) == [
        (0, 1, "for now"),
        (1, 1, "for now"),
    ]


def test_stop_ends_a_pause() -> None:
    """So does a task that waits because the server asked for it."""
    failed = threading.Event()

    def work(_: int) -> None:
        problem = ConnectionError("later")
        problem.headers = {"Retry-After": "3600"}  # type: ignore[attr-defined]
        failed.set()
        raise problem

    dispatch, dispatched = lasting(work, Limits(retries=5))
    assert next(dispatched) is None
    failed.wait()
    dispatch.stop()
    assert [(e.task, e.attempts, str(e.problem)) for e in dispatched if e] == [(0, 1, "later")]


def test_stop_lets_what_runs_end(freed: threading.Event) -> None:
    """What was begun is an outcome; no other task begins."""
    began = threading.Event()

    def work(_: int) -> None:
        began.set()
        freed.wait()

    dispatch, dispatched = lasting(work, Limits(retries=1))
    assert next(dispatched) is None
    began.wait()
    dispatch.stop()
    assert next(dispatched) is None
    freed.set()
    assert [each.task for each in dispatched if each] == [0]


def wait_for_the_end_of_threads_but(before: set[threading.Thread]) -> None:
    """Return when all others have ended; the test hangs if they do not."""
    while {*threading.enumerate()} - before:
        time.sleep(0.01)


def test_whoever_stops_to_iterate_stops_the_tasks() -> None:
    """A loop that is left lets no further task begin."""
    before = {*threading.enumerate()}
    dispatch = Dispatch(in_threads(abs), count(), Limits(2))
    for outcome in dispatch:
        if outcome is not None:
            break
    wait_for_the_end_of_threads_but(before)


def test_leave_stops_at_once() -> None:
    """No further task begins, whether or not anybody asks for what ended."""
    before = {*threading.enumerate()}
    dispatch = Dispatch(in_threads(abs), count(), Limits(2))
    dispatched = iter(dispatch)
    come(dispatched)
    left = dispatch.leave(0)
    wait_for_the_end_of_threads_but(before)
    tasks = [each.task for each in left]
    assert len(tasks) == len({*tasks})


def test_leave_waits_for_its_grace_alone(freed: threading.Event) -> None:
    """What ends within the grace is had, what hangs is left."""
    slow, began = threading.Event(), threading.Semaphore(0)

    def work(task: int) -> None:
        began.release()
        (slow if task == 1 else freed).wait()

    dispatch = Dispatch(in_threads(work), [0, 1], Limits(2))
    dispatched = iter(dispatch)
    assert next(dispatched) is None
    for _ in range(2):
        began.acquire()
    left = dispatch.leave(LONG_S)
    slow.set()
    assert next(left).task == 1
    assert [*dispatch.leave(0.1)] == []


def test_leave_raises_nothing_any_more(freed: threading.Event) -> None:
    """What would have ended the whole is no news for who ends it."""
    began = threading.Semaphore(0)

    def work(task: int) -> None:
        began.release()
        freed.wait()
        if task == 1:
            raise KeyboardInterrupt

    dispatch, dispatched = lasting(work, Limits(3))
    assert next(dispatched) is None
    for _ in range(3):
        began.acquire()
    left = dispatch.leave(LONG_S)
    freed.set()
    assert {each.task for each in left} == {0, 2}


def test_what_is_meant_for_the_whole_ends_it_unseen(freed: threading.Event) -> None:
    """No other task begins even if whoever iterates is busy with something else."""

    def work(task: int) -> None:
        if task == 0:
            freed.wait()
            raise KeyboardInterrupt

    before = {*threading.enumerate()}
    dispatched = iter(Dispatch(in_threads(work), count(), Limits(2)))
    come(dispatched)
    freed.set()
    wait_for_the_end_of_threads_but(before)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        list(dispatched)


@pytest.mark.parametrize("limits", ["", "timeout_s=1e6"])
def test_an_interpreter_that_ends_waits_for_nobody(limits: str) -> None:
    """A process ends while an attempt hangs."""
    program = (
        "import time\n"
        "from usher_pipeline.dispatching import Dispatch, Limits, in_threads\n"
        f"dispatch = Dispatch(in_threads(time.sleep), [1e6] * 2, Limits(2, {limits}))\n"
        "dispatched = iter(dispatch)\n"
        "assert next(dispatched) is None\n"
        "assert [*dispatch.leave(0)] == []\n"
        "print('end')\n"
    )
    source = Path(usher_pipeline.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


# --- executors --------------------------------------------------------------------------


POOLS: Final[dict[str, Callable[[], Executor]]] = {
    "threads": lambda: ThreadPoolExecutor(2),
    "processes": lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")),
}


@pytest.mark.parametrize("pool", [*POOLS.values()], ids=[*POOLS])
@pytest.mark.parametrize("timeout_s", [None, LONG_S])
def test_an_executor_does_the_work(
    pool: Callable[[], Executor], timeout_s: float | None
) -> None:
    """Values and errors come back from a pool's workers."""
    with pool() as executor:
        attempt = in_executor(executor, math.sqrt)
        dispatch = Dispatch(attempt, [4.0, 9.0, -1.0], Limits(2, timeout_s=timeout_s))
        ended = {each.task: each for each in dispatch if each}
    assert (ended[4.0].value, ended[9.0].value) == (2.0, 3.0)
    assert isinstance(ended[-1.0].problem, ValueError)


def test_a_broken_executor_ends_the_whole() -> None:
    """Where a worker died no other task fares better: it is raised."""
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor,
        pytest.raises(BrokenExecutor, match="terminated abruptly"),
    ):
        [*Dispatch(in_executor(executor, os._exit), count(1), Limits(retries=3))]


class Endless(Executor):
    """Ends nothing.

    Args:
        begins: Whether it begins something.
    """

    def __init__(self, *, begins: bool) -> None:
        self.begins = begins
        self.futures: list[Future[Any]] = []

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        """Return what never ends."""
        self.futures.append(Future())
        if self.begins:
            self.futures[-1].set_running_or_notify_cancel()
        return self.futures[-1]


@pytest.mark.parametrize(
    ("begins", "state"), [(True, "it may still be running"), (False, "it had not begun")]
)
def test_a_time_limit_holds_in_an_executor(state: str, *, begins: bool) -> None:
    """What has not ended in time is cancelled, and the error says whether it had begun."""
    executor = Endless(begins=begins)
    with pytest.raises(TimeoutError, match=rf"longer than 0\.01 s; {state}"):
        in_executor(executor, abs)(1, 0.01)
    assert [each.cancelled() for each in executor.futures] == [not begins]


def test_a_time_limit_of_the_work_in_an_executor_is_its_own() -> None:
    """A TimeoutError that the work raises is passed on as it is."""
    with ThreadPoolExecutor(1) as executor:
        attempt = in_executor(executor, failing(9, TimeoutError("of the work")))
        for timeout_s in (None, LONG_S):
            with pytest.raises(TimeoutError, match="of the work"):
                attempt(1, timeout_s)


# --- the rate ---------------------------------------------------------------------------


class FakeClock:
    """A clock that goes on where somebody waits, and a little more.

    Args:
        late_s: How much longer than asked for each wait takes.
    """

    def __init__(self, late_s: Iterator[float]) -> None:
        self.now_s = 0.0
        self._late_s = late_s

    def wait(self, wait_s: float) -> bool:
        """Let time go by; nothing ends."""
        self.now_s += wait_s + next(self._late_s) if wait_s else 0
        return False


def starts_of(rate_per_s: float, late_s: list[float], number: int = 60) -> list[float]:
    """Return when attempts begin under a rate, woken late now and then."""
    clock = FakeClock(late_s[each % len(late_s)] for each in count())
    gate = dispatching._Gate(
        dispatching._spacing_s(rate_per_s), clock.wait, lambda: clock.now_s
    )
    starts = []
    for _ in range(number):
        assert gate.let_in()
        starts.append(clock.now_s)
    return starts


def busiest(times_s: list[float], window_s: float) -> int:
    """Return how many are the most within any half-open window."""
    times_s = sorted(times_s)
    return max(sum(at <= each < at + window_s for each in times_s) for at in times_s)


LATE: Final = st.lists(st.floats(0, 3), min_size=1)


@given(
    st.integers(1, 40),
    LATE,
    st.lists(st.floats(0, dispatching._MARGIN * 0.999), min_size=60, max_size=60),
)
def test_the_rate_holds_where_requests_arrive(
    rate: int, late_s: list[float], travel_s: list[float]
) -> None:
    """However late a thread wakes, and however long a request travels within the margin."""
    starts = starts_of(rate, late_s)
    assert busiest([a + b for a, b in zip(starts, travel_s, strict=True)], 1.0) <= rate


@given(st.integers(1, 50), st.integers(1, 50), LATE)
def test_a_rate_with_a_fraction_holds_where_it_is_whole(
    number: int, seconds: int, late_s: list[float]
) -> None:
    """Of a rate of 2.5 there are at most 5 in two seconds, of 0.2 one in five."""
    assert busiest(starts_of(number / seconds, late_s), seconds) <= number


def test_the_rate_costs_its_margin_alone() -> None:
    """Where nobody wakes late the rate is as high as it may be."""
    starts = starts_of(3, [0.0], 301)
    assert 300 / starts[-1] == pytest.approx(3 / (1 + dispatching._MARGIN))


def test_a_pause_is_for_all_and_the_longest_counts() -> None:
    """After one was asked for nothing begins until the last of them is over."""
    clock = FakeClock(iter(lambda: 0.0, None))
    gate = dispatching._Gate(0.0, clock.wait, lambda: clock.now_s)
    gate.pause(7)
    gate.pause(5)
    assert gate.let_in()
    assert clock.now_s == 7


def test_every_attempt_counts_for_the_rate() -> None:
    """Further attempts are spaced like first ones."""
    noted = Noted(in_threads(failing(1, ConnectionError())), [1, 2, 3], Limits(3, 50, 1))
    assert [each.attempts for each in noted.dispatch if each] == [2, 2, 2]
    assert len(noted.starts_s) == 6
    assert narrowest(noted.starts_s, 1) >= dispatching._spacing_s(50) - 1e-9


class Noted:
    """A dispatch that notes when its gate let attempts in, by its own clock.

    Args:
        attempt: Makes one.
        tasks: At what.
        limits: Within which.
    """

    def __init__(self, attempt: Attempt, tasks: Iterable[Any], limits: Limits) -> None:
        self.starts_s: list[float] = []
        self.travels: list[tuple[float, Any]] = []
        self.pauses: list[tuple[float, float]] = []
        self._own = threading.local()
        self._attempt = attempt
        self.dispatch = Dispatch(self._noting, tasks, limits)
        self.dispatch._gate._clock_s = self._clock_s
        self._pause = self.dispatch._gate.pause
        self.dispatch._gate.pause = self._note_pause  # type: ignore[method-assign]

    def _clock_s(self) -> float:
        self._own.now_s = time.monotonic()
        now_s: float = self._own.now_s
        return now_s

    def _noting(self, task: Any, timeout_s: float | None) -> Any:
        # The gate of this thread has looked at the clock last when it let it in.
        self.starts_s.append(self._own.now_s)
        return self._attempt((task, self._own.now_s), timeout_s)

    def _note_pause(self, pause_s: float) -> None:
        before_s = time.monotonic()
        self._pause(pause_s)
        self.pauses.append((time.monotonic(), before_s + pause_s))


def narrowest(times_s: list[float], number: int) -> float:
    """Return the shortest time in which one more than a number fell."""
    times_s = sorted(times_s)
    return min(b - a for a, b in zip(times_s, times_s[number:], strict=False))


# --- a server ---------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    """Answers each item in its own way, and logs what arrives when.

    Args:
        freed: What hangs waits for.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, freed: threading.Event) -> None:
        self.freed = freed
        self.arrivals: list[tuple[float, str]] = []
        self.seen: Counter[str] = Counter()
        super().__init__(("127.0.0.1", 0), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Take it from clients that went away."""


class Handler(BaseHTTPRequestHandler):
    """Serves ``/item/start``; every tenth item is of another kind."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        _, item, start_s = self.path.split("/")
        kind, nth = int(item) % 10, self.server.seen[item]
        self.server.seen[item] += 1
        self.server.arrivals.append((time.monotonic(), start_s))
        match kind, nth:
            case (1, 0):
                self.answer(429, "wait", retry_after="1" if item == "11" else "0")
            case (2, 0) | (6, _):
                self.answer(500, "broken")
            case (3, 0):
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                )
                self.connection.close()
            case (4, 0) if item == "4":
                self.server.freed.wait()
            case (5, 0) | (8, _):
                self.answer(200, '{"item": ')
            case (7, _):
                self.answer(404, "unknown")
            case _:
                self.answer(200, json.dumps({"item": int(item)}))

    def answer(self, status: int, text: str, retry_after: str | None = None) -> None:
        """Send an answer."""
        self.send_response(status)
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server(freed: threading.Event) -> Iterator[Server]:
    """Run one for a test."""
    with Server(freed) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        freed.set()
        server.shutdown()
        thread.join()


def test_a_server_with_moods_is_asked_until_it_answers(server: Server) -> None:
    """Of a server that limits, breaks, resets, hangs and cuts off every item has its end.

    What passes is fetched, what does not has its cause, a pause is kept by all, and no
    second sees more requests than the rate, as the server counts.
    """
    rate = 25

    def fetch(task: tuple[int, float]) -> Any:
        item, start_s = task
        url = f"http://127.0.0.1:{server.server_port}/{item}/{start_s!r}"
        try:
            with urllib.request.urlopen(url, timeout=600) as answer:
                return json.load(answer)["item"]
        except urllib.error.HTTPError as problem:
            problem.close()
            raise

    limits = Limits(workers=4, rate_per_s=rate, retries=3, timeout_s=1)
    fetching = in_threads(fetch)

    def attempt(task: tuple[int, float], timeout_s: float | None) -> Any:
        # Whatever the machine has to do besides, only what hangs takes too long.
        return fetching(task, timeout_s if task[0] == 4 else LONG_S)

    noted = Noted(attempt, iter(range(60)), limits)
    ended = {each.task: each for each in noted.dispatch if each}

    assert sorted(ended) == [*range(60)]
    for item, outcome in ended.items():
        match item % 10:
            case 6:
                assert isinstance(outcome.problem, urllib.error.HTTPError)
                assert (outcome.problem.code, outcome.attempts) == (500, 4)
            case 7:
                assert isinstance(outcome.problem, urllib.error.HTTPError)
                assert (outcome.problem.code, outcome.attempts) == (404, 1)
            case 8:
                assert isinstance(outcome.problem, json.JSONDecodeError)
                assert outcome.attempts == 4
            case kind:
                assert outcome[1:3] == (item, None)
                assert outcome.attempts >= (2 if kind in (1, 2, 3, 5) or item == 4 else 1)

    assert len(noted.pauses) == 6
    for from_s, until_s in noted.pauses:
        assert not [at for at in noted.starts_s if from_s < at < until_s]

    assert narrowest(noted.starts_s, rate) >= 1 + dispatching._MARGIN - 1e-9
    # A machine that has other work delays requests by more than the margin.
    arrived = sorted((at, at - float(start)) for at, start in server.arrivals)
    assert min(travel_s for _, travel_s in arrived) >= 0
    pairs = [
        (after[0] - before[0], before[1])
        for before, after in zip(arrived, arrived[rate:], strict=False)
    ]
    counted = [gap_s for gap_s, travel_s in pairs if travel_s < dispatching._MARGIN]
    assert counted
    assert min(counted) >= 1


def test_nothing_is_loaded_before_it_is_needed() -> None:
    """The library for further attempts is loaded where there are some."""
    program = (
        "import sys\n"
        "from usher_pipeline.dispatching import Dispatch, Limits, in_threads\n"
        "[*Dispatch(in_threads(abs), [1], Limits(2, rate_per_s=9, timeout_s=9))]\n"
        "print('tenacity' in sys.modules)\n"
        "Dispatch(in_threads(abs), [1], Limits(retries=1))\n"
        "print('tenacity' in sys.modules)\n"
    )
    source = Path(usher_pipeline.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\nTrue\n"


def test_no_task_begins_after_a_failure_if_that_is_wanted() -> None:
    """The thread that failed takes no other task, and what runs goes on to its end."""
    begun: list[int] = []

    def work(task: int) -> int:
        begun.append(task)
        return 1 // (task - 2)

    dispatch = Dispatch(in_threads(work), range(100), Limits(), stops_at_failure=True)
    outcomes = [outcome for outcome in dispatch if outcome is not None]
    assert begun == [0, 1, 2]
    assert [outcome.problem is None for outcome in outcomes] == [True, True, False]


def test_no_task_begins_while_very_many_outcomes_wait() -> None:
    """Memory does not grow with what nobody took yet."""
    begun = count(1)
    last = 0

    def work(_: int) -> None:
        nonlocal last
        last = next(begun)

    dispatch = iter(Dispatch(in_threads(work), range(10_000), Limits(workers=2)))
    next(dispatch)
    while True:
        before = last
        time.sleep(0.1)
        if last == before:
            break
    assert last < 300
    assert len([outcome for outcome in dispatch if outcome is not None]) == 9_999
