"""The same process as `fresh_usher.py`, with joblib."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import joblib

from mixed import mixed

if TYPE_CHECKING:
    import polars as pl

memory = joblib.Memory("joblib", verbose=0)


@memory.cache
def genes(gene: str, count: int, depth: float) -> pl.DataFrame:
    """Return a small table."""
    return mixed(1000, count if gene and depth else 0)


sys.exit(genes("ush2a", 3, 28.5).shape != (1000, 8))
