"""A whole process that imports polars, as every user's does, and nothing else."""

from __future__ import annotations

import polars as pl

assert pl.__version__
