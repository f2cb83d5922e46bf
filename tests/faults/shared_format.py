"""A checkpoint that two versions of the library share."""

from __future__ import annotations

import polars as pl

from usher_pipeline import checkpoint


@checkpoint(name="shared_format")
def genes(rows: int) -> pl.DataFrame:
    """Return some rows."""
    return pl.DataFrame({"row": range(rows)})
