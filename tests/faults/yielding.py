"""A generator that is killed while it yields, and goes on in the next process.

A script: ``yielding.py``, in the folder of a store that the environment names. For each line
on its input, a number of seconds, it forks a child that calls the function, and kills it
after that time, counted from its first page on; a line ``end`` lets a last one come to its
end. Each page that is asked is a line of the file ``asked``. It prints a line of JSON for
each: how the child ended, and what it found at the end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

# What is not used here would take each child up to half a second, for DuckDB 1 most of all.
import pandas as pd  # noqa: F401
import polars as pl
import pyarrow.compute
import pyarrow.dataset  # noqa: F401

from usher_pipeline import Resume, checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES, ROWS, PAGE_S = 400, 20, 0.002


def asked() -> Path:
    """Return where the pages that were asked are counted; a global path would count."""
    return Path("asked")


def asked_bytes() -> int:
    """Return how much was asked so far."""
    return asked().stat().st_size if asked().exists() else 0


def page(number: int) -> pl.DataFrame:
    """Return the one page of a number, and count that it was asked."""
    time.sleep(PAGE_S)
    with asked().open("a") as file:
        file.write(f"{number}\n")
    return pl.DataFrame({"page": [number] * ROWS, "row": range(ROWS)})


@checkpoint(name="yielding")
def yielding(*, resume: Resume[int] = Resume()) -> Iterator[pl.DataFrame]:
    """Yield all pages."""
    for number in range(resume.cursor or 0, PAGES):
        yield resume.part(page(number), cursor=number + 1)


def found() -> dict[str, object]:
    """Call the function; return what came back, in short."""
    frame = yielding()
    expected = [number for number in range(PAGES) for _ in range(ROWS)]
    return {"height": frame.height, "is_exact": frame["page"].to_list() == expected}


def forked(delay_s: float | None) -> dict[str, object]:
    """Let a child call the function, and kill it after a while, if it is to be killed."""
    reading, writing = os.pipe()
    before = asked_bytes()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, json.dumps(found()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    if delay_s is not None:
        while asked_bytes() == before:
            time.sleep(0.001)
        time.sleep(delay_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    told = os.read(reading, 1 << 16)
    os.close(reading)
    return {"was_killed": os.WIFSIGNALED(status), **(json.loads(told) if told else {})}


if __name__ == "__main__":
    for line in sys.stdin:
        delay_s = None if line.strip() == "end" else float(line)
        print(json.dumps(forked(delay_s)), flush=True)  # noqa: T201
