"""The loop of an asynchronous checkpoint goes on while the store works.

Promise: the store keeps the loop waiting for no more than 20 ms. A task that does nothing
but sleep for a millisecond notes the longest time between two of its turns, while others
save a big frame, get it back, and ask for small ones. What Python
takes to collect garbage stops every thread, whoever made it, and is told apart. Figures
never fail a benchmark.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING

import kept
from clock import by_report, passed
from figures import percentile, short
from mixed import mixed
from usher_pipeline import checkpoint, configure

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import polars as pl
    from pytest_benchmark.fixture import BenchmarkFixture

ROWS = 1_000_000
CALLS = 200


@checkpoint(name="bench_awaited", ignore=["made"])
async def awaited(rows: int, made: Callable[[int], pl.DataFrame]) -> pl.DataFrame:
    """Return a frame of so many rows, made before.

    The frames are no arguments: those that an earlier call returned would be digested by each
    later one, for the lineage.
    """
    return made(rows)


class Collecting:
    """How long Python collected garbage, which stops all threads of a process."""

    def __init__(self) -> None:
        self.total_s = self._started_s = 0.0

    def __call__(self, phase: str, _: object) -> None:
        """Hear of the begin and the end of a collection."""
        now = time.perf_counter()
        if phase == "start":
            self._started_s = now
        else:
            self.total_s += now - self._started_s


async def gaps_s(work: Callable[[], object]) -> list[tuple[float, float]]:
    """Return the times between the turns of a task, while some work is awaited.

    Each without the garbage that Python collected meanwhile, and as it was.
    """
    found: list[tuple[float, float]] = []
    collecting = Collecting()
    gc.callbacks.append(collecting)
    is_done = asyncio.Event()

    async def beat() -> None:
        last, collected = time.perf_counter(), collecting.total_s
        while not is_done.is_set():
            await asyncio.sleep(0.001)
            now, so_far = time.perf_counter(), collecting.total_s
            found.append((now - last - (so_far - collected), now - last))
            last, collected = now, so_far

    beating = asyncio.create_task(beat())
    await work()  # type: ignore[misc]
    is_done.set()
    await beating
    gc.callbacks.remove(collecting)
    return found


@by_report
def test_the_loop_goes_on(
    benchmark: BenchmarkFixture, say: Callable[..., None], tmp_path: Path
) -> None:
    """The longest time that the loop stood still, for a save, a hit, and many small calls."""
    configure(store=tmp_path / "store.duckdb")
    frames = {rows: mixed(rows) for rows in (ROWS, *range(kept.SMALL, kept.SMALL + CALLS))}

    made = frames.__getitem__

    async def many() -> None:
        await asyncio.gather(*(awaited(kept.SMALL + n, made) for n in range(CALLS)))

    works = {
        "nothing": lambda: asyncio.sleep(1),
        "a save of 1 M × 8": lambda: awaited(ROWS, made),
        "its hit": lambda: awaited(ROWS, made),
        f"{CALLS} saves at once": many,
        f"{CALLS} hits at once": many,
    }
    found = dict[str, list[tuple[float, float]]]()

    def all_of_it() -> None:
        for name, work in works.items():
            found[name] = asyncio.run(gaps_s(work))
        passed(max(found["a save of 1 M × 8"])[0])

    benchmark.pedantic(all_of_it, rounds=1)
    for name, gaps in found.items():
        own = [gap for gap, _ in gaps]
        longest, whole = max(own), max(gap for _, gap in gaps)
        measured = f"p99 {short(percentile(own, 99))}, longest {short(longest)}"
        measured += f", with garbage collected {short(whole)}, of {len(own):,}"
        say(f"the loop beside {name}", measured, "≤ 20 ms", 0.02 / longest)
