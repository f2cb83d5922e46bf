"""The functions whose results are kept, and the same ones as `joblib.Memory` keeps them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mixed import mixed
from usher_pipeline import checkpoint, current_run

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

SMALL: Final = 1000
PATIENCE_S: Final = 1800.0


@checkpoint(name="bench_small")
def small(gene: str, count: int, depth: float) -> pl.DataFrame:
    """Return a small table of three plain arguments; it is another one for each count."""
    return mixed(SMALL, count if gene and depth else 0)


@checkpoint(name="bench_other")
def other(count: int) -> pl.DataFrame:
    """Return a table that is asked for only to have everything imported and warm."""
    return mixed(SMALL, count)


# --- what is given to them --------------------------------------------------------------
# The frame is made beforehand and does not count for the key, so that neither making it nor
# hashing it is measured.


@checkpoint(name="bench_polars", ignore=["frame"])
def as_polars(number: int, frame: Any = None) -> Any:
    """Return the frame of polars that was given."""
    return frame if number else None


@checkpoint(name="bench_pandas", ignore=["frame"])
def as_pandas(number: int, frame: Any = None) -> Any:
    """Return the frame of pandas that was given."""
    return frame if number else None


# --- work -------------------------------------------------------------------------------


@checkpoint(name="bench_worked", ignore=["tally"])
def worked(number: int, work_s: float, tally: Path) -> pl.DataFrame:
    """Return a small table after some time of a whole core, and tell that it was made."""
    until_s = time.process_time() + work_s
    while time.process_time() < until_s:
        pass
    with tally.open("a") as file:
        file.write("made\n")
    return mixed(SMALL, number)


# --- its table --------------------------------------------------------------------------


def published(function: Any) -> None:
    """Wait until the table of a checkpoint is in the database.

    The marks on disk tell it. To look into the database, or to ask for the table, would be
    in the way of whoever publishes it behind the caller.
    """
    segments = current_run().backend.segments
    until_s = time.monotonic() + PATIENCE_S
    while any(pending.name == function.name for pending in segments.pending()):
        assert time.monotonic() < until_s, f"{function.name} was never published"
        time.sleep(0.005)


# --- the rival --------------------------------------------------------------------------


def by_joblib(function: Any, *, folder: Path = Path(), **options: Any) -> Callable[..., Any]:
    """Return the same function as `joblib.Memory` keeps it.

    Args:
        function: The checkpoint.
        folder: Where the results of joblib are.
        options: More for `joblib.Memory`.
    """
    import joblib

    memory = joblib.Memory(folder / "joblib", verbose=0, **options)
    declared = function.__usher_declaration__
    cached: Callable[..., Any] = memory.cache(
        function.__wrapped__, ignore=sorted(declared.ignore)
    )
    return cached
