"""Processes that ask for a result after a byte of its store was changed.

A script: ``damaged.py``, in the folder of a store that the environment names. Each line on
its input is a JSON list of a file, an offset, the bits to change there, and a way to ask:
the byte is changed, or the file ends there if no bit is, a forked child asks for the result,
and all is put back as it was. It prints what the child got: ``exact``, the name of an error,
or ``wrong``.
"""

from __future__ import annotations

import json
import os
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

# What is not used here would take each child up to half a second, for DuckDB 1 most of all.
import duckdb
import pandas as pd  # noqa: F401
import polars as pl
import pyarrow.compute
import pyarrow.dataset  # noqa: F401

from usher_pipeline import checkpoint
from usher_pipeline.errors import UsherError
from usher_pipeline.persistence import PipelineStore

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 3000


@checkpoint(name="damaged_genes")
def genes(rows: int = ROWS) -> pl.DataFrame:
    """Return a frame of several types, missing values among them."""
    return pl.DataFrame(
        {
            "row": range(rows),
            "gene": [f"gene number {n}" if n % 7 else None for n in range(rows)],
            "score": [n / 3 if n % 5 else None for n in range(rows)],
            "parts": [[n, n + 1] if n % 3 else None for n in range(rows)],
            "word": ["coding", "other", None] * (rows // 3),
        },
        schema_overrides={"word": pl.Categorical},
    )


def by_call() -> pl.DataFrame:
    """Ask for the result as anybody does."""
    return genes()


def by_name() -> pl.DataFrame:
    """Read its plain table."""
    with PipelineStore(os.environ["USHER_STORE"]) as store:
        frame: pl.DataFrame = store.load_dataframe("damaged_genes")
        return frame


def answer_of(ask: Callable[[], pl.DataFrame]) -> str:
    """Return what one way gives."""
    try:
        found = ask()
    except UsherError as problem:
        return type(problem).__name__
    except duckdb.Error as problem:
        # One line for each sort of error: sums and places differ.
        return re.sub(r"\d+", "#", f"raw {type(problem).__name__}: {problem}")[:150]
    expected = genes.__wrapped__()
    some = pl.col("gene") == "gene number 1500"
    is_exact = (
        found.schema == expected.schema
        and found.equals(expected)
        and found.filter(some).equals(expected.filter(some))
    )
    return "exact" if is_exact else "wrong"


def asked(way: str) -> str:
    """Ask in a forked child; return its answer, or how it died."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            warnings.simplefilter("ignore")
            answer = answer_of({"call": by_call, "name": by_name}[way])
        except BaseException as problem:  # noqa: BLE001 - whatever it is, the parent is told
            answer = f"raw {type(problem).__name__}: {problem}"
        os.write(writing, answer.encode()[:1000])
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(child, 0)
    answer = os.read(reading, 1000).decode()
    os.close(reading)
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else answer


if __name__ == "__main__":
    for line in sys.stdin:
        name, offset, flip, way = json.loads(line)
        before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
        changed = bytearray(before[Path(name)])
        if flip:
            changed[offset] ^= flip
        else:
            del changed[offset:]
        Path(name).write_bytes(changed)
        print(json.dumps(asked(way)), flush=True)  # noqa: T201
        for path in set(Path().rglob("*")) - set(before):
            if path.is_file():
                path.unlink()
        for path, data in before.items():
            path.write_bytes(data)
