"""Tables that are asked for in the library that they were not saved from."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pandas as pd
import polars as pl
import pytest
from pandas.testing import assert_frame_equal as assert_pandas
from polars.testing import assert_frame_equal

from usher_pipeline.persistence import PipelineStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PipelineStore]:
    """An open store in a folder of its own."""
    with PipelineStore(tmp_path / "store.duckdb") as opened:
        yield opened


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_pandas_meaning_reaches_polars(store: PipelineStore, unit: str) -> None:
    """Durations, categories and zones of a pandas frame are such in polars."""
    duration, berlin, fixed = (
        pd.api.types.pandas_dtype(kind.format(unit))
        for kind in ("m8[{}]", "datetime64[{}, Europe/Berlin]", "datetime64[{}, UTC+05:30]")
    )
    frame = pd.DataFrame(
        {
            "wait": pd.Series(pd.to_timedelta([1, None], unit="s")).astype(duration).array,
            "tier": pd.Categorical(["a", None], ["b", "a"]),
            "seen": pd.Series([NOON, None]).astype(berlin).array,
            "fixed": pd.Series([NOON, None]).astype(fixed).array,
            "count": pd.array([1, None], dtype="Int64"),
        },
        index=pd.Index(["USH2A", "MYO7A"], name="gene"),
    )
    store.save_dataframe(frame, "t")
    loaded = store.load_dataframe("t")
    known = "ms" if unit == "s" else unit
    assert loaded.schema == {
        "wait": pl.Duration(known),  # type: ignore[arg-type]
        "tier": pl.Categorical(),
        "seen": pl.Datetime(known, "Europe/Berlin"),  # type: ignore[arg-type]
        "fixed": pl.Datetime(known, "UTC"),  # type: ignore[arg-type]
        "count": pl.Int64,
        "gene": pl.String,
    }
    assert loaded["wait"].to_list() == [dt.timedelta(seconds=1), None]
    assert loaded["tier"].to_list() == ["a", None]
    assert loaded["seen"].to_list() == loaded["fixed"].to_list() == [NOON, None]


def test_polars_meaning_reaches_pandas(store: PipelineStore) -> None:
    """Durations, categories and zones of a polars frame are such in pandas."""
    frame = pl.DataFrame(
        {
            "wait": [dt.timedelta(days=1), None],
            "tier": pl.Series(["y", None], dtype=pl.Enum(["x", "y"])),
            "word": pl.Series(["w", None], dtype=pl.Categorical),
            "seen": pl.Series([NOON, None], dtype=pl.Datetime("us", "Europe/Berlin")),
            "wide": pl.Series([2**100, None], dtype=pl.Int128),
            "rank": [1, 2],
        }
    )
    store.save_dataframe(frame, "t")
    loaded = store.load_dataframe("t", as_polars=False)
    assert str(loaded["wait"].dtype) == "timedelta64[us]"
    assert loaded["tier"].cat.categories.tolist() == ["x", "y"]
    assert loaded["word"].tolist()[0] == "w"
    assert isinstance(loaded["word"].dtype, pd.CategoricalDtype)
    assert str(loaded["seen"].dtype) == "datetime64[us, Europe/Berlin]"
    assert loaded["wide"].tolist()[0] == str(2**100)
    assert loaded["rank"].tolist() == [1, 2]


def test_values_that_sql_wrote_are_served_as_they_are(store: PipelineStore) -> None:
    """What the frame could not have held, such as a missing int64, is loaded all the same."""
    store.save_dataframe(pd.DataFrame({"n": [1, 2]}), "t")
    store.execute_query("UPDATE t SET n = NULL WHERE n = 2")
    assert store.load_dataframe("t")["n"].to_list() == [1, None]
    assert store.load_dataframe("t", as_polars=False)["n"].isna().tolist() == [False, True]


def test_an_unnamed_index_stays_within_pandas(store: PipelineStore, tmp_path: Path) -> None:
    """An index without a name comes back in pandas, and is no column anywhere else."""
    frame = pd.DataFrame({"gene": list("abc"), "n": [1, 2, 3]}, index=[3, 0, 7])
    store.save_dataframe(frame, "t")
    assert_pandas(store.load_dataframe("t", as_polars=False), frame)
    expected = pl.DataFrame({"gene": list("abc"), "n": [1, 2, 3]})
    assert_frame_equal(store.load_dataframe("t"), expected)
    store.export_parquet("t", tmp_path / "t.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "t.parquet"), expected)


def test_a_named_index_is_a_column_elsewhere(store: PipelineStore, tmp_path: Path) -> None:
    """An index with a name is data in polars and in files; the level without one is not."""
    levels = [("x", 5), ("y", 1)]
    index = pd.MultiIndex.from_tuples(levels, names=["gene", None])
    store.save_dataframe(pd.DataFrame({"n": [1, 2]}, index=index), "t")
    expected = pl.DataFrame({"n": [1, 2], "gene": ["x", "y"]})
    assert_frame_equal(store.load_dataframe("t"), expected)
    store.export_parquet("t", tmp_path / "t.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "t.parquet"), expected)


def test_a_frame_of_nothing_but_an_index(store: PipelineStore, tmp_path: Path) -> None:
    """Where there is no other column, the index is what there is to see."""
    frame = pd.DataFrame(index=["x", "y"])
    store.save_dataframe(frame, "t")
    assert_pandas(store.load_dataframe("t", as_polars=False), frame, check_column_type=False)
    assert store.load_dataframe("t").height == 2
    store.export_parquet("t", tmp_path / "t.parquet")
    assert pl.read_parquet(tmp_path / "t.parquet").height == 2
