"""Stream gigabytes through a checkpoint into one aggregate; report the peak of the memory.

A script: ``stream_once.py GIGABYTES``, in the folder of the store.
"""

from __future__ import annotations

import re
import resource
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import polars as pl

from kept import published
from mixed import mixed
from processes import report
from usher_pipeline import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

#: How many rows come at once; about 60 MB.
BATCH: Final = 1_000_000
_STATUS: Final = Path("/proc/self/status")
_FACTS: Final = re.compile(r"^(VmHWM|RssAnon|RssFile):\s+(\d+) kB", re.MULTILINE)
_PAUSE_S: Final = 0.02


@checkpoint(name="bench_streamed")
def streamed(batches: int) -> Iterator[pl.DataFrame]:
    """Yield so many frames, each of other rows."""
    for number in range(batches):
        yield mixed(BATCH, number)


def totals(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return a query that reads every row of some columns."""
    return (
        frame.group_by("chromosome")
        .agg(pl.len(), pl.col("depth").sum(), pl.col("gene").null_count())
        .sort("chromosome")
    )


def expected(batches: int) -> pl.DataFrame:
    """Return the totals, made of one batch after the other."""
    each = (totals(mixed(BATCH, number).lazy()).collect() for number in range(batches))
    return pl.concat(each).group_by("chromosome").sum().sort("chromosome")


class Peak:
    """The peaks of what the kernel tells of this process, looked at again and again.

    Pages of mapped files count as resident as well (`RssFile`), but the kernel takes them
    back whenever it likes; what a program can not do without is the rest (`RssAnon`).
    """

    def __init__(self) -> None:
        self.bytes: dict[str, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while True:
            for name, kilobytes in _FACTS.findall(_STATUS.read_text()):
                self.bytes[name] = max(self.bytes.get(name, 0), int(kilobytes) * 1024)
            if self._ended.wait(_PAUSE_S):
                return


def main(gigabytes: str) -> None:
    """Stream, report, and fail if the totals are wrong."""
    batches = max(1, round(float(gigabytes) * 1e9 / mixed(BATCH).to_arrow().nbytes))
    with Peak() as peak:
        started = time.perf_counter()
        found = totals(streamed.lazy(batches)).collect(engine="streaming")
        elapsed_s = time.perf_counter() - started
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with Peak() as after:
        published(streamed)
        settled_s = time.perf_counter() - started
    if not found.equals(expected(batches)):
        sys.exit(f"the totals are wrong: {found}")
    report(
        elapsed_s=elapsed_s,
        settled_s=settled_s,
        ru_maxrss=highest,
        published=after.bytes["VmHWM"],
        **peak.bytes,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
