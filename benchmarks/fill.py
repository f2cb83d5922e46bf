"""Store what the benchmarks will ask for, in a process that is none of theirs.

A script: ``fill.py small COUNT`` or ``fill.py big ARROW_FILE``, in the folder of the store.
"""

from __future__ import annotations

import sys
from pathlib import Path

import kept
from mixed import mixed
from processes import report

#: The arguments besides the count.
GENE, DEPTH = "ush2a", 28.5


def small(count: int) -> None:
    """Store so many small results, each of a call of its own."""
    for function in (kept.small, kept.by_joblib(kept.small)):
        for number in range(count):
            function(GENE, number, DEPTH)


def big(path: Path) -> None:
    """Store a big frame of polars, and the same of pandas; write it down as it was."""
    frame = mixed()
    frame.write_ipc(path)
    kept.as_polars(1, frame)
    kept.by_joblib(kept.as_polars)(1, frame)
    pandas = frame.to_pandas()
    kept.as_pandas(1, pandas)
    kept.by_joblib(kept.as_pandas)(1, pandas)
    kept.published(kept.as_polars)
    kept.published(kept.as_pandas)


if __name__ == "__main__":
    if sys.argv[1] == "small":
        small(int(sys.argv[2]))
    else:
        big(Path(sys.argv[2]))
    report(done=True)
