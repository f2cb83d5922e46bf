"""A whole process that needs one small table, which another one stored."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mixed import mixed
from usher_pipeline import checkpoint

if TYPE_CHECKING:
    import polars as pl


@checkpoint(name="bench_fresh")
def genes(gene: str, count: int, depth: float) -> pl.DataFrame:
    """Return a small table."""
    return mixed(1000, count if gene and depth else 0)


sys.exit(genes("ush2a", 3, 28.5).shape != (1000, 8))
