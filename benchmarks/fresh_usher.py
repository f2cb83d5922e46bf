"""A whole process that needs one small table, which another one stored."""

from __future__ import annotations

import sys

from mixed import mixed
from usher_pipeline import checkpoint


@checkpoint(name="bench_fresh")
def genes(gene: str, count: int, depth: float):  # noqa: ANN201 - polars is not imported here
    """Return a small table."""
    return mixed(1000, count if gene and depth else 0)


sys.exit(genes("ush2a", 3, 28.5).shape != (1000, 8))
