"""What is kept in a context reaches the threads and pools that are started in it."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from usher_pipeline.inherited import Inherited

VALUE: Inherited[str] = Inherited("value")


def in_thread() -> str | None:
    """Return what a new thread sees."""
    seen: list[str | None] = []
    thread = threading.Thread(target=lambda: seen.append(VALUE.get()))
    thread.start()
    thread.join()
    return seen[0]


def in_deeper_thread() -> str | None:
    """Return what a thread sees that a thread started."""
    seen: list[str | None] = []
    thread = threading.Thread(target=lambda: seen.append(in_thread()))
    thread.start()
    thread.join()
    return seen[0]


def in_pool() -> str | None:
    """Return what a task of a new pool sees."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(VALUE.get).result()


def in_map() -> str | None:
    """Return what a mapped task of a new pool sees."""
    with ThreadPoolExecutor(1) as pool:
        return next(pool.map(lambda _: VALUE.get(), [0]))


def in_loop() -> str | None:
    """Return what a function sees that a loop runs in a thread."""
    return asyncio.run(asyncio.to_thread(VALUE.get))


@pytest.mark.parametrize("within", [in_thread, in_deeper_thread, in_pool, in_map, in_loop])
def test_threads_inherit(within: Any) -> None:
    """A thread sees what was kept where it was started, and nothing afterwards."""
    assert within() is None
    token = VALUE.set("outer")
    assert within() == "outer"
    VALUE.reset(token)
    assert within() is None


def test_a_pool_sees_each_task_s_own() -> None:
    """A worker that is older, or that served another context, sees that of its task."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(VALUE.get).result() is None
        for name in ("one", "two"):
            token = VALUE.set(name)
            assert pool.submit(VALUE.get).result() == name
            VALUE.reset(token)
        assert pool.submit(VALUE.get).result() is None


def test_a_thread_may_have_its_own() -> None:
    """What a thread keeps itself goes before what it inherited, and stays there."""
    token = VALUE.set("outer")

    def own() -> str | None:
        VALUE.set("inner")
        return VALUE.get()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(own).result() == "inner"
    assert VALUE.get() == "outer"
    VALUE.reset(token)
