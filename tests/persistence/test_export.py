"""Frames → files that others read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from usher_pipeline.errors import OutputError, UnsupportedFrameError
from usher_pipeline.persistence.export import formats, write_frame

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


def test_an_older_file_is_replaced_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When writing fails half way, the file that was there stays whole."""
    path = tmp_path / "genes.csv"
    path.write_text("old")

    def fail(_: object, file: str) -> None:
        Path(file).write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pl.DataFrame, "write_csv", fail)
    with pytest.raises(OutputError, match=r"can not be written: .*No space left.* Give a path"):
        write_frame(FRAME, path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["genes.csv"]


@pytest.mark.parametrize(
    ("frame", "name", "others"),
    [
        (pl.DataFrame({"list": [[1]]}), "genes.csv", r"of \.parquet, \.tsv, \.arrow"),
        (pl.DataFrame({"list": [[1]]}), "genes.TSV", r"of \.parquet, \.csv, \.arrow"),
        (pd.DataFrame({"mixed": [1, "a"]}), "genes.feather", r"of \.parquet, \.csv"),
        (pd.DataFrame({"mixed": [1, "a"]}), "genes.parquet", r"of \.csv, \.tsv"),
    ],
)
def test_what_a_format_can_not_hold_names_the_ending(
    tmp_path: Path, frame: Any, name: str, others: str
) -> None:
    """A frame that the writer refuses is an error with its words and the other endings."""
    path = tmp_path / name
    path.write_text("old")
    with pytest.raises(UnsupportedFrameError, match=f"Its writer says: .*{others}") as caught:
        write_frame(frame, path)
    assert caught.value.type_name == path.suffix
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_target_below_a_file_is_an_error(tmp_path: Path) -> None:
    """Where no folder can be made the error names the target, and the file stays."""
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for target in (notes / "genes.csv", notes / "deep" / "genes.csv"):
        with pytest.raises(OutputError, match=r"The file '.*genes\.csv' can not be written"):
            write_frame(FRAME, target)
    with pytest.raises(OutputError, match="can not be written"):
        write_frame(FRAME, _made(tmp_path / "folder.csv"))
    assert notes.read_text() == "mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder.csv", "notes.txt"]


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize("name", ["genes.xyz", "genes"])
def test_an_unknown_ending_names_the_known(tmp_path: Path, name: str) -> None:
    """An ending that names no format is an error that lists those that do."""
    with pytest.raises(UnsupportedFrameError, match=r"Use one of \.parquet, \.csv"):
        write_frame(FRAME, tmp_path / name)


def test_what_is_no_frame_is_refused() -> None:
    """Only frames have formats."""
    with pytest.raises(UnsupportedFrameError, match="Give a frame, one of polars"):
        formats([1])
