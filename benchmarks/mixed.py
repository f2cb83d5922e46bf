"""The frames that are measured: eight columns of mixed types, and fifty of two."""

from __future__ import annotations

import os
from typing import Final

import polars as pl

#: How many rows a big frame has; about 0.6 GB, lowered to try the benchmarks themselves.
ROWS: Final = int(os.environ.get("USHER_BENCH_ROWS", "10_000_000"))

_UNIT: Final = 1 << 53


def mixed(rows: int = ROWS, seed: int = 1) -> pl.DataFrame:
    """Return rows of eight types: whole and real numbers, bools, dates, texts of three sorts.

    It takes polars alone, since a script that imports more would be measured with it.

    Args:
        rows: How many.
        seed: Frames of other seeds have other values.
    """
    row = pl.int_range(rows, dtype=pl.UInt64)
    number = row.hash(seed)
    return pl.select(
        id=(number % (1 << 40)).cast(pl.Int64),
        score=_share(row, seed + 1),
        depth=(number % 1000).cast(pl.Int32),
        is_coding=number % 3 == 0,
        chromosome=pl.format("chromosome {}", number % 24),
        gene=pl.when(number % 11 != 0).then(_gene(row + seed)),
        seen=(number % 20_000).cast(pl.Int32).cast(pl.Date),
        frequency=pl.when(number % 7 != 0).then(_share(row, seed + 2)),
    )


def wide(rows: int, columns: int = 50, seed: int = 1) -> pl.DataFrame:
    """Return a frame of many columns: numbers and texts in turns.

    Args:
        rows: How many.
        columns: How many of them.
        seed: Frames of other seeds have other values.
    """
    row = pl.int_range(rows, dtype=pl.UInt64)
    return pl.select(
        _share(row, seed + n).alias(f"score_{n}")
        if n % 2
        else _gene(row.hash(seed + n) % 30_000).alias(f"gene_{n}")
        for n in range(columns)
    )


def _share(row: pl.Expr, seed: int) -> pl.Expr:
    return (row.hash(seed) % _UNIT).cast(pl.Float64) / _UNIT


def _gene(number: pl.Expr) -> pl.Expr:
    return pl.format("ENSG{}", number.cast(pl.String).str.zfill(11))
