"""Ask once for what another process stored; report how long it took, then check it.

A script: ``hit_once.py usher|joblib FORM ARROW_FILE``, in the folder of the store. The time
is that from the call to the frame, in a process that has loaded the libraries of either way
and never asked for a result: what it takes to load them is in the hit as a whole process.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import polars as pl

import kept
from processes import make_even, report

if TYPE_CHECKING:
    from collections.abc import Callable

#: What is loaded beforehand, whichever way is measured.
LIBRARIES: Final = ("duckdb", "joblib", "pandas", "pyarrow.compute", "usher_pipeline.calls")
#: More than a hit takes: the frame, and the work on it.
_HIT_BYTES: Final = 3 << 30
#: What a user who needs a part of the columns and of the rows asks for.
COLUMNS: Final = ("gene", "score")


def part_of(frame: pl.LazyFrame) -> pl.DataFrame:
    """Return two of eight columns, and one row of a hundred."""
    return frame.select(COLUMNS).filter(pl.col("score") > 0.99).collect()


def of_usher(form: str) -> Callable[[], Any]:
    """Return the call that is measured, on the way of this library."""
    return {
        "polars": lambda: kept.as_polars(1),
        "pandas": lambda: kept.as_pandas(1),
        "polars, to pandas": lambda: kept.as_polars.pandas(1),
        "part": lambda: part_of(kept.as_polars.lazy(1)),
    }[form]


def of_joblib(form: str) -> Callable[[], Any]:
    """Return the call that is measured, on the way of joblib.

    It keeps the frame that is asked for, or the one that is turned into it. A mapped one is
    copied where it is written to.
    """
    kind = kept.as_polars if form.startswith(("polars", "part")) else kept.as_pandas
    cached = kept.by_joblib(kind, mmap_mode="c" if "mapped" in form else None)
    return {
        "part": lambda: part_of(cached(1).lazy()),
        "polars, to pandas": lambda: cached(1).to_pandas(),
    }.get(form, lambda: cached(1))


def is_right(found: Any, expected: pl.DataFrame, form: str) -> bool:
    """Tell whether what was found is what was stored."""
    if form == "part":
        return part_of(expected.lazy()).equals(found)
    if "pandas" in form:
        return can_be_written(found) and is_same(found, expected)
    return isinstance(found, pl.DataFrame) and found.equals(expected)


def is_same(found: Any, expected: pl.DataFrame) -> bool:
    """Tell whether a frame of pandas holds the values of one of polars."""
    columns = (pl.from_pandas(found[name], nan_to_null=True) for name in expected.columns)
    return list(found.columns) == expected.columns and all(
        column.cast(expected[column.name].dtype).equals(expected[column.name], null_equal=True)
        for column in columns
    )


def can_be_written(frame: Any) -> bool:
    """Tell whether a frame of pandas takes another value; it has its own afterwards."""
    was = frame.loc[0, "score"]
    frame.loc[0, "score"] = -1.0
    took = frame.loc[0, "score"] == -1.0
    frame.loc[0, "score"] = was
    return bool(took)


def main(who: str, form: str, path: str) -> None:
    """Ask, report, and fail if the answer is wrong."""
    for library in LIBRARIES:
        importlib.import_module(library)
    make_even(_HIT_BYTES)
    ask = of_usher(form) if who == "usher" else of_joblib(form)
    started = time.perf_counter()
    found = ask()
    elapsed_s = time.perf_counter() - started
    expected = pl.read_ipc(path)
    if not is_right(found, expected, form):
        sys.exit(f"{who} gave another frame: {found}")
    report(elapsed_s=elapsed_s)


if __name__ == "__main__":
    main(*sys.argv[1:])
