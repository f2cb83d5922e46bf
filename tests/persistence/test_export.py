"""Frames → files that others read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.persistence.export import formats, write_frame

if TYPE_CHECKING:
    from pathlib import Path

FRAME = pl.DataFrame({"gene": ["USH2A", "MYO7A"], "score": [0.5, 0.25]})


@pytest.mark.parametrize(
    ("ending", "read"),
    [
        (".parquet", pl.read_parquet),
        (".csv", pl.read_csv),
        (".tsv", lambda path: pl.read_csv(path, separator="\t")),
        (".arrow", pl.read_ipc),
        (".feather", pl.read_ipc),
        (".json", pl.read_json),
        (".PARQUET", pl.read_parquet),
    ],
)
def test_polars_is_written_by_its_ending(tmp_path: Path, ending: str, read: Any) -> None:
    """The ending names the format; folders are created and nothing else is left behind."""
    path = tmp_path / "deep" / f"genes{ending}"
    assert write_frame(FRAME, path) == path
    assert_frame_equal(read(path), FRAME)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("ending", "read"),
    [
        (".parquet", pd.read_parquet),
        (".csv", lambda path: pd.read_csv(path, index_col=0)),
        (".tsv", lambda path: pd.read_csv(path, index_col=0, sep="\t")),
        (".feather", pd.read_feather),
        (".json", pd.read_json),
    ],
)
def test_pandas_is_written_by_its_ending(tmp_path: Path, ending: str, read: Any) -> None:
    """Frames of pandas are written by pandas, so their readers find what they know."""
    frame = FRAME.to_pandas()
    path = tmp_path / f"genes{ending}"
    write_frame(frame, path)
    assert read(path)["gene"].tolist() == ["USH2A", "MYO7A"]


def test_an_older_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """When writing fails, the file that was there stays whole."""
    path = tmp_path / "genes.csv"
    path.write_text("old")
    nested = pl.DataFrame({"list": [[1]]})
    with pytest.raises(pl.exceptions.ComputeError, match="nested"):
        write_frame(nested, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["genes.csv"]


@pytest.mark.parametrize("name", ["genes.xyz", "genes"])
def test_an_unknown_ending_names_the_known(tmp_path: Path, name: str) -> None:
    """An ending that names no format is an error that lists those that do."""
    with pytest.raises(UnsupportedFrameError, match=r"Use one of \.parquet, \.csv"):
        write_frame(FRAME, tmp_path / name)


def test_what_is_no_frame_is_refused() -> None:
    """Only frames have formats."""
    with pytest.raises(UnsupportedFrameError, match="Give a polars or pandas DataFrame"):
        formats([1])
