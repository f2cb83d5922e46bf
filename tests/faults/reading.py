"""A process that works on a store that it may not change, or not even read.

A script: ``reading.py fill|read|look``, in a folder on a disk of its own.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from usher_pipeline import checkpoint, configure, entries, load, run
from usher_pipeline.errors import CheckpointNotSavedError, UsherError, UsherWarning
from usher_pipeline.persistence import PipelineStore

if TYPE_CHECKING:
    from collections.abc import Callable

STORE = Path("store.duckdb")


@checkpoint(name="readable")
def genes(rows: int) -> pl.DataFrame:
    """Return some rows."""
    return pl.DataFrame({"row": range(rows)})


def fill() -> None:
    """Store two results and a table, the older one without a table."""
    genes(2)
    genes(3)
    with PipelineStore(STORE) as store:
        store.save_dataframe(pl.DataFrame({"n": [1]}), "saved")


def refused(act: Callable[[], Any]) -> str:
    """Return what refuses to write; whatever else is raised is a mistake."""
    try:
        found = act()
    except UsherError as problem:
        return f"{type(problem).__name__}: {problem}"
    return f"nothing: {found}"


def strictly() -> int:
    """Compute what can not be stored, and get it from the error."""
    configure(strict=True)
    try:
        genes(7)
    except CheckpointNotSavedError as problem:
        return problem.frame.height  # type: ignore[attr-defined, no-any-return]
    finally:
        configure(strict=False)
    return 0


def read() -> dict[str, Any]:
    """Use the store in every way that reads, and try to write in every way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hits = [genes(2).height, genes(3).height, genes.lazy(3).collect().height]
        hits += [genes.pandas(2).shape[0], load("readable", rows=2).height]
        with run():
            hits.append(genes(3).height)
    of_hits = [str(warning.message) for warning in caught]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        computed = genes(5).height
    of_miss = [str(warning.message) for warning in caught]
    with PipelineStore(STORE) as store:
        tables = [store.load_dataframe("saved").height, store.load_dataframe("readable").height]
        writes = {
            "save": refused(lambda: store.save_dataframe(pl.DataFrame({"n": [2]}), "saved")),
            "delete": refused(lambda: store.delete_checkpoint("readable")),
            "prune": refused(lambda: store.prune(keep_latest=0, dry_run=False)),
            "pin": refused(lambda: store.pin("readable")),
            "compact": refused(store.compact),
            "forget": refused(lambda: genes.forget(2)),
            "clear": refused(genes.clear),
        }
        whole = store.verify().is_whole
        listed = len(store.list_checkpoints())
    return {
        "hits": hits,
        "of_hits": of_hits,
        "computed": computed,
        "of_miss": of_miss,
        "strict": strictly(),
        "tables": tables,
        "writes": writes,
        "whole": whole,
        "listed": listed,
        "entries": len(entries("readable")),
        "files": sorted(str(path) for path in Path().rglob("*")),
    }


def look() -> dict[str, Any]:
    """Ask for an older result, a new one and a table, of a store that lost some rights."""

    def rows_of(frame: pl.DataFrame) -> int:
        assert frame.equals(genes.__wrapped__(frame.height))
        return frame.height

    def by_name() -> int:
        with PipelineStore(STORE) as store:
            return rows_of(store.load_dataframe("readable"))

    def answer(ask: Callable[[], Any]) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UsherWarning)
            try:
                return ask()
            except UsherError as problem:
                return type(problem).__name__

    return {
        "hit": answer(lambda: rows_of(genes(2))),
        "miss": answer(lambda: rows_of(genes(9))),
        "table": answer(by_name),
    }


if __name__ == "__main__":
    os.environ["USHER_LOG"] = "quiet"
    configure(store=STORE)
    json.dump({"fill": fill, "read": read, "look": look}[sys.argv[1]](), sys.stdout)
