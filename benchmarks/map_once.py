"""Ask a function for many items in this process, and report what that took.

Run as ``map_once.py COUNT``: each item gives ten rows at once. Reported are how long the bare
function takes for all of them, how long the map takes, the memory of the process after a
quarter of the items, a half and the last (``VmRSS``), what the store takes on the disk, the
bytes of the equal Parquet file, and how long the same call takes a second time.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import polars as pl

from processes import STORE, report
from usher_pipeline import checkpoint
from usher_pipeline.persistence import publisher

ROWS = 10
#: After so many quarters of the items the memory is looked at.
SHARES = (1, 2, 4)


def words(count: int) -> list[str]:
    """Return made-up words."""
    chance = random.Random(1)
    letters = "abcdefghijklmnopqrstuvwxyz"
    return ["".join(chance.choices(letters, k=chance.randint(3, 10))) for _ in range(count)]


class Asked:
    """Counts the items, and looks at the memory on the way."""

    count = 0
    rss: ClassVar[dict[int, int]] = {}
    at: frozenset[int] = frozenset()
    lock = threading.Lock()


WORDS = words(5000)


def memory_bytes() -> int:
    """Return how much memory the process has now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


@checkpoint(name="papers", version="1")
def papers(gene: str) -> pl.DataFrame:
    """Return what an API might say of the papers on a gene."""
    with Asked.lock:
        Asked.count += 1
        if Asked.count in Asked.at:
            Asked.rss[Asked.count] = memory_bytes()
    chance = random.Random(gene)
    return pl.DataFrame(
        {
            "gene": [gene] * ROWS,
            "pmid": [chance.randrange(10_000_000, 40_000_000) for _ in range(ROWS)],
            "year": [chance.randrange(1980, 2026) for _ in range(ROWS)],
            "title": [" ".join(chance.choices(WORDS, k=9)) for _ in range(ROWS)],
            "score": [chance.random() for _ in range(ROWS)],
        }
    )


def main() -> None:
    """Ask, and report."""
    count = int(sys.argv[1])
    store = Path(STORE).resolve()
    Asked.at = frozenset(count * share // 4 for share in SHARES)
    genes = [f"G{number}" for number in range(count)]
    started_s = time.perf_counter()
    for gene in genes:
        papers.__wrapped__(gene)
    bare_s = time.perf_counter() - started_s
    Asked.count = 0
    scan = papers.mapped(over="gene", workers=4)
    started_s = time.perf_counter()
    frame = scan(genes)
    elapsed_s = time.perf_counter() - started_s
    publisher.wait(store, 60)
    again_s = []
    for _ in range(5):
        started_s = time.perf_counter()
        again = scan(genes)
        again_s.append(time.perf_counter() - started_s)
        assert again.equals(frame)
    assert Asked.count == count
    publisher.wait(store, 60)
    frame.write_parquet("equal.parquet")
    folder = store.with_suffix(".checkpoints")
    files = [store, *(path for path in folder.rglob("*") if path.is_file())]
    report(
        bare_s=bare_s,
        elapsed_s=elapsed_s,
        again_s=sorted(again_s)[2],
        rss=[Asked.rss[count * share // 4] for share in SHARES],
        frame_bytes=frame.estimated_size(),
        store_bytes=sum(path.stat().st_size for path in files),
        parquet_bytes=Path("equal.parquet").stat().st_size,
    )


if __name__ == "__main__":
    main()
