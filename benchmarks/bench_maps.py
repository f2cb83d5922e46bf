"""A map over 22,000 items costs little beside the slowest API that there is.

Promises, for 22,000 items of ten rows each and a function that answers at once:

- all are asked, stored and one table within 25 seconds;
- the store takes no more than three times the bytes of the equal Parquet file;
- the memory does not grow with the items that were asked;
- the same call takes no more than half a second once all are stored.

Figures never fail a benchmark: they are printed and kept, and only answers are asserted.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from clock import by_report, passed
from figures import short
from processes import answered

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

ITEMS = int(os.environ.get("USHER_BENCH_ITEMS", "22_000"))
MEGA = 1e6


@by_report
def test_a_map(benchmark: BenchmarkFixture, say: Callable[..., None], tmp_path: Path) -> None:
    """Time, bytes at rest and memory of a map of instant items, and of the same call again."""
    answers = list[dict[str, Any]]()

    def ask() -> None:
        answers.append(answered(tmp_path, "map_once", ITEMS))
        passed(answers[-1]["elapsed_s"])

    benchmark.pedantic(ask, rounds=1)
    (found,) = answers
    elapsed_s, again_s = found["elapsed_s"], found["again_s"]
    measured = f"{short(elapsed_s)}, of which the bare function {short(found['bare_s'])}"
    say(f"{ITEMS:,} items of ten rows", measured, "≤ 25 s", 25 / elapsed_s)
    share = found["store_bytes"] / found["parquet_bytes"]
    sizes = f"{found['store_bytes'] / MEGA:.1f} of {found['parquet_bytes'] / MEGA:.1f} MB"
    say("bytes of the store", f"{share:.2f} × Parquet: {sizes}", "≤ 3 ×", 3 / share)
    quarter, half, end = (size_bytes / MEGA for size_bytes in found["rss"])
    grown = f"{quarter:.0f}, {half:.0f}, {end:.0f} MB after a quarter, a half, all"
    of_frame = f"the frame takes {found['frame_bytes'] / MEGA:.0f} MB"
    say("memory while items are asked", f"{grown}; {of_frame}", "flat", half / end)
    say("the same call again", short(again_s), "≤ 0.5 s", 0.5 / again_s)
