"""A process that stores results on a disk that is full, and again when it is not.

A script: ``filling.py SLACK_BYTES KIND``, in a folder on a small disk of its own. It fills
the disk but for some bytes, asks for a result of about 300 kB, makes room again, and asks
once more. It prints what happened, and fails if a frame was not the right one.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from usher_pipeline import checkpoint, configure
from usher_pipeline.errors import CheckpointNotSaved, CheckpointNotSavedError
from usher_pipeline.persistence import PipelineStore, publisher
from usher_pipeline.persistence.local import resolved

if TYPE_CHECKING:
    from collections.abc import Iterator

STORE = Path("store.duckdb")
FILLER = Path("filler")
ROWS = 20_000


def genes(first: int = 0) -> pl.DataFrame:
    """Return some rows."""
    return pl.DataFrame(
        {"row": range(first, first + ROWS), "gene": [f"g{n % 7}" for n in range(ROWS)]}
    )


@checkpoint(name="full_frame")
def full_frame(number: int) -> pl.DataFrame:
    """Return a frame at once."""
    return genes(number)


@checkpoint(name="full_pages")
def full_pages(number: int) -> Iterator[pl.DataFrame]:
    """Return a frame bit by bit."""
    for begin in range(0, ROWS, 1000):
        yield genes(number).slice(begin, 1000)


@checkpoint(name="full_lazy")
def full_lazy(number: int) -> pl.LazyFrame:
    """Return a query."""
    return genes(number).lazy()


KINDS: dict[str, Any] = {"frame": full_frame, "pages": full_pages, "lazy": full_lazy}


def fill(slack_bytes: int) -> None:
    """Take all of the disk but some bytes."""
    facts = os.statvfs(".")
    free_bytes = facts.f_bavail * facts.f_bsize
    with FILLER.open("wb") as file:
        left = max(0, free_bytes - slack_bytes)
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 16)))


def asked(function: Any, patience_s: float) -> tuple[pl.DataFrame, list[str]]:
    """Ask for a result, and wait a while for its table; return it with what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = function(2).lazy().collect()
        publisher.wait(resolved(STORE), patience_s)
    return frame, [warning.category.__name__ for warning in caught]


def strictly(function: Any) -> pl.DataFrame:
    """Ask for a result that has to be stored; return it, however it comes."""
    configure(strict=True)
    try:
        return function(3).lazy().collect()  # type: ignore[no-any-return]
    except CheckpointNotSavedError as problem:
        return problem.frame.lazy().collect()  # type: ignore[attr-defined, no-any-return]
    finally:
        configure(strict=False)


def leftovers() -> list[str]:
    """Return the files that no result needs."""
    folder = Path("store.checkpoints")
    temporary = [path.name for path in folder.rglob("*.tmp")]
    segments = [p for p in folder.glob("*/*.arrow") if not p.with_suffix(".json").exists()]
    return temporary + [path.name for path in segments]


def main(slack: str, kind: str) -> None:
    """Fill the disk, ask, make room, and ask again."""
    function = KINDS[kind]
    configure(store=STORE)
    # What was stored before is not to suffer.
    before = function(1).lazy().collect()
    publisher.wait(resolved(STORE), 30)
    fill(int(slack))
    frame, warned = asked(function, 0.5)
    assert frame.equals(genes(2)), "the caller has another frame"
    assert strictly(function).equals(genes(3)), "the error has another frame"
    assert function(1).lazy().collect().equals(before), "what was stored is another frame"
    left = leftovers()
    FILLER.unlink()
    gc.collect()
    again, warned_again = asked(function, 30)
    assert again.equals(genes(2))
    assert function.entries()[0].row_count == ROWS
    with PipelineStore(STORE) as store:
        assert store.verify().is_whole
        assert store.load_dataframe(function.name).lazy().collect().equals(genes(2))
    json.dump(
        {
            "warned": warned,
            "warned_again": warned_again,
            "left": left,
            "rescued": len(list(Path(os.environ["TMPDIR"]).glob("usher-rescue-*"))),
            "is_not_saved": CheckpointNotSaved.__name__ in warned,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
