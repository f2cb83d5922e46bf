"""What is measured with and takes long to make: `usher warm tables` stores it once."""

from __future__ import annotations

import polars as pl

from mixed import mixed
from usher_pipeline import checkpoint


@checkpoint
def ten_million() -> pl.DataFrame:
    """Return ten million rows of eight types."""
    return mixed()


def as_if_made_here(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a copy in memory of which the library knows nothing.

    A stored frame lies in a mapped file and its digests are known, which would make light of
    what is measured with it.
    """
    copy = frame.write_ipc(None, compat_level=pl.CompatLevel.newest())
    return pl.read_ipc(copy.getvalue()).rechunk()
