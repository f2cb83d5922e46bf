"""An asynchronous function is a checkpoint like any other, and its loop is not blocked."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest

from usher_pipeline import awaiting, checkpoint, configure, run
from usher_pipeline.errors import CheckpointCycleError, CheckpointMissError
from usher_pipeline.persistence.local import LocalBackend, resolved
from usher_pipeline.records import Hit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

STORE = Path("store.duckdb")


@pytest.fixture(autouse=True)
def _store() -> None:
    configure(store=STORE)


@pytest.fixture
def ran() -> list[Any]:
    """What ran."""
    return []


def fetching(ran: list[Any]) -> Any:
    """Return an asynchronous checkpoint that notes when it runs."""

    @checkpoint(name="fetched", ignore=["seen"])
    async def fetched(number: int, *, seen: list[Any] = ran) -> pl.DataFrame:
        seen.append(number)
        await asyncio.sleep(0.01)
        return pl.DataFrame({"number": [number]})

    return fetched


def test_it_is_awaited_and_computed_once(ran: list[Any]) -> None:
    """The first call runs the function, the next one is a hit, in whatever loop."""
    fetched = fetching(ran)
    assert asyncio.run(fetched(1)).item() == 1
    assert asyncio.run(fetched(1)).item() == 1
    assert ran == [1]
    assert isinstance(fetched.explain(1), Hit)
    assert fetched.load(1).item() == 1
    with pytest.raises(CheckpointMissError, match="fetched has no stored result"):
        fetched.load(2)


def test_it_is_known_to_be_asynchronous(ran: list[Any]) -> None:
    """Frameworks ask before they call; a call gives a coroutine."""
    fetched = fetching(ran)
    called = fetched(1)
    assert inspect.iscoroutine(called)
    called.close()
    if sys.version_info >= (3, 12):
        assert inspect.iscoroutinefunction(fetched)


def test_the_function_runs_on_the_loop_of_its_caller() -> None:
    """What belongs to a loop, such as a client, can be used in it."""

    @checkpoint(name="where")
    async def where() -> pl.DataFrame:
        seen.append((asyncio.get_running_loop(), threading.current_thread()))
        return pl.DataFrame({"n": [1]})

    seen: list[Any] = []

    async def main() -> None:
        await where()
        assert seen == [(asyncio.get_running_loop(), threading.current_thread())]

    asyncio.run(main())


def test_tasks_that_ask_for_one_key_share_it(ran: list[Any]) -> None:
    """Of many tasks one computes, the others get what it got; other keys do not wait."""
    fetched = fetching(ran)

    async def main() -> list[pl.DataFrame]:
        found: list[pl.DataFrame] = await asyncio.gather(*(fetched(n % 5) for n in range(40)))
        return found

    frames = asyncio.run(main())
    assert [frame.item() for frame in frames] == [n % 5 for n in range(40)]
    assert sorted(ran) == [0, 1, 2, 3, 4]


def test_calls_within_calls_do_not_wait_for_a_thread(ran: list[Any]) -> None:
    """However many calls wait for calls, none is without a thread to work in."""
    fetched = fetching(ran)

    @checkpoint(name="outer", ignore=["inner"])
    async def outer(number: int, *, inner: Any = fetched) -> pl.DataFrame:
        found: pl.DataFrame = await inner(number)
        return found

    async def main() -> list[pl.DataFrame]:
        return await asyncio.gather(*(outer(n) for n in range(40)))

    assert [frame.item() for frame in asyncio.run(main())] == list(range(40))
    (read,) = outer.entries()[0].reads
    assert read.name == "fetched"


def test_a_circle_is_an_error() -> None:
    """A function that awaits itself with the same arguments is told so."""

    @checkpoint(name="circle")
    async def circle() -> pl.DataFrame:
        return await circle()

    with pytest.raises(CheckpointCycleError, match="circle → circle"):
        asyncio.run(circle())


def test_an_error_is_that_of_the_function(ran: list[Any]) -> None:
    """It reaches its own caller; the next call computes."""
    fails = [ConnectionError("the API is down"), TimeoutError("30 s"), None]

    @checkpoint(name="failing", ignore=["problems"])
    async def failing(*, problems: list[Any] = fails) -> pl.DataFrame:
        ran.append("run")
        problem = problems.pop(0)
        if problem is not None:
            raise problem
        return pl.DataFrame({"n": [1]})

    with pytest.raises(ConnectionError, match="the API is down"):
        asyncio.run(failing())
    with pytest.raises(TimeoutError, match="30 s"):
        asyncio.run(failing())
    assert asyncio.run(failing()).item() == 1
    assert ran == ["run"] * 3


def test_who_cancels_a_call_cancels_the_function() -> None:
    """The function is cancelled, the key is free, and nothing is stored."""
    seen: list[str] = []

    @checkpoint(name="slow", ignore=["for_s", "begun", "notes"])
    async def slow(
        *, for_s: float, begun: asyncio.Event, notes: list[str] = seen
    ) -> pl.DataFrame:
        begun.set()
        try:
            await asyncio.sleep(for_s)
        except asyncio.CancelledError:
            notes.append("cancelled")
            raise
        return pl.DataFrame({"n": [1]})

    async def main() -> pl.DataFrame:
        begun = asyncio.Event()
        task = asyncio.create_task(slow(for_s=60, begun=begun))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError, match=r"^$"):
            await task
        begun.clear()
        task = asyncio.create_task(slow(for_s=60, begun=begun))
        await begun.wait()
        with pytest.raises(TimeoutError, match=r"^$"):
            await asyncio.wait_for(task, 0.01)
        assert slow.entries() == []
        found: pl.DataFrame = await slow(for_s=0, begun=begun)
        return found

    assert asyncio.run(main()).item() == 1
    assert seen == ["cancelled", "cancelled"]


def test_a_function_that_cancels_itself() -> None:
    """What it raises is raised to its caller, who is not cancelled by that."""

    @checkpoint(name="gone")
    async def gone() -> pl.DataFrame:
        raise asyncio.CancelledError

    async def main() -> str:
        try:
            await gone()
        except asyncio.CancelledError:
            return "cancelled"
        return "went on"

    assert asyncio.run(main()) == "cancelled"


def test_the_loop_goes_on_while_the_store_works(
    ran: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save that takes long leaves the loop to all other tasks."""
    fetched, save = fetching(ran), LocalBackend.save
    saving, saved = threading.Event(), threading.Event()

    def slowly(*given: Any) -> Any:
        saving.set()
        saved.wait(30)
        return save(*given)

    monkeypatch.setattr(LocalBackend, "save", slowly)

    async def main() -> None:
        task = asyncio.create_task(fetched(1))
        await asyncio.to_thread(saving.wait, 30)
        # The loop is at work here, and the save waits for it.
        for _ in range(10):
            await asyncio.sleep(0)
        saved.set()
        assert (await task).item() == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("verb", "kind"),
    [("polars", pl.DataFrame), ("pandas", pd.DataFrame), ("lazy", pl.LazyFrame)],
)
def test_other_forms_are_awaited_as_well(ran: list[Any], verb: str, kind: type) -> None:
    """The same result, in the form that is asked for."""
    fetched = fetching(ran)
    assert isinstance(asyncio.run(getattr(fetched, verb)(1)), kind)
    assert asyncio.run(fetched.bypass(1)).item() == 1
    assert asyncio.run(fetched.refresh(1)).item() == 1
    assert ran == [1, 1, 1]


def test_the_run_around_is_that_of_the_caller(ran: list[Any]) -> None:
    """A run in whose block a call is awaited has its step."""
    fetched = fetching(ran)

    async def main() -> list[str]:
        with run(store="other.duckdb") as here:
            await fetched(1)
            return [step["step_name"] for step in here.steps()]

    assert asyncio.run(main()) == ["fetched"]
    assert Path("other.checkpoints", "fetched").is_dir()


def test_methods_are_awaited() -> None:
    """The object of a method is an argument, as it is of plain ones."""

    class Api:
        def __init__(self, base: int) -> None:
            self.base = base

        @checkpoint(name="of_method")
        async def fetch(self, number: int) -> pl.DataFrame:
            return pl.DataFrame({"n": [self.base + number]})

    assert asyncio.run(Api(10).fetch(1)).item() == 11
    assert asyncio.run(Api(20).fetch(1)).item() == 21


def test_a_loop_that_is_closed_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread does not wait for ever for a loop that nobody runs any more."""
    monkeypatch.setattr(awaiting, "_LOOK_S", 0.05)
    loop = asyncio.new_event_loop()
    beside = awaiting._Beside(loop)

    async def never() -> None:
        await asyncio.sleep(60)

    found: list[BaseException] = []

    def wait() -> None:
        try:
            beside.run(never())
        except RuntimeError as problem:
            found.append(problem)

    thread = threading.Thread(target=wait)
    thread.start()
    while not beside.running:
        time.sleep(0.001)
    loop.close()
    thread.join(10)
    assert "the event loop was closed" in str(found)


def test_without_a_loop_there_is_nobody_to_run_it() -> None:
    """Who sends a coroutine through by hand is told that a loop is missing."""

    async def some() -> None: ...

    made: Callable[[], Coroutine[Any, Any, None]] = some
    with pytest.raises(RuntimeError, match="where a loop runs"):
        awaiting.result_of(made())


def test_who_cancels_a_call_that_waits_for_others_is_free_at_once() -> None:
    """A call that waits for another process's result does not keep its loop from ending."""
    configure(store=STORE)

    @checkpoint(name="shared")
    async def shared() -> pl.DataFrame:
        return pl.DataFrame({"n": [1]})

    key, backend = shared.key().digest, LocalBackend(resolved(STORE))
    taken, free = threading.Event(), threading.Event()

    def hold() -> None:
        with backend.single_flight("shared", key):
            taken.set()
            free.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(60)

    async def main() -> None:
        with pytest.raises(TimeoutError, match=r"^$"):
            await asyncio.wait_for(shared(), 0.2)
        # The holder is still at it.
        assert not free.is_set()

    asyncio.run(main())
    free.set()
    holder.join()
    assert asyncio.run(shared()).item() == 1


def test_few_threads_work_at_a_time(ran: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many calls at once a few work in the store at a time, and none waits for ever."""
    fetched, save = fetching(ran), LocalBackend.save
    at_work, most = [0], [0]

    def counted(*given: Any) -> Any:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        try:
            time.sleep(0.005)
            return save(*given)
        finally:
            at_work[0] -= 1

    monkeypatch.setattr(LocalBackend, "save", counted)

    async def main() -> None:
        await asyncio.gather(*(fetched(n) for n in range(20)))

    asyncio.run(main())
    assert sorted(ran) == list(range(20))
    assert 1 <= most[0] <= 2
