"""Files of tables are read by the library whose frame is wanted."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from usher_pipeline.errors import OptionError
from usher_pipeline.persistence.tablefiles import read_table, sha256_of

FRAME = pl.DataFrame({"gene": ["USH2A", None], "depth": [31, 45]})


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("polars.DataFrame", pl.DataFrame),
        ("pandas.DataFrame", pd.DataFrame),
        ("pyarrow.Table", pa.Table),
    ],
)
@pytest.mark.parametrize("ending", ["parquet", "arrow", "csv", "tsv"])
def test_each_ending_for_each_kind(kind: str, made: Any, ending: str) -> None:
    """The frame is one of that library, and has the values of the file."""
    path = Path(f"genes.{ending}")
    if ending in ("csv", "tsv"):
        FRAME.write_csv(path, separator="," if ending == "csv" else "\t")
    elif ending == "parquet":
        FRAME.write_parquet(path)
    else:
        FRAME.write_ipc(path)
    found = read_table("genes.adopt", path, kind)
    assert type(found) is made
    assert list(found["depth"])[1] in (45, pa.scalar(45))


def test_a_frame_of_a_file_does_not_change_with_it() -> None:
    """What was read is at hand, whatever becomes of the file."""
    FRAME.write_ipc("genes.arrow")
    found = read_table("genes.adopt", Path("genes.arrow"), "polars.DataFrame")
    data = bytearray(Path("genes.arrow").read_bytes())
    Path("genes.arrow").write_bytes(bytes(len(data)))
    assert found.equals(FRAME)


def test_another_ending_is_refused() -> None:
    """The error names the endings that can be read."""
    with pytest.raises(OptionError, match=r"\.parquet, \.arrow, \.feather, \.csv, \.tsv"):
        read_table("genes.adopt", Path("genes.xlsx"), "polars.DataFrame")


def test_the_digest_is_that_of_all_tools() -> None:
    """It is the SHA-256 that `sha256sum` prints."""
    Path("genes.csv").write_bytes(b"gene\n")
    assert sha256_of(Path("genes.csv")) == hashlib.sha256(b"gene\n").hexdigest()
