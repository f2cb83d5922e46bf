"""Rows that are added to a table: what the frame of the whole is then."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pytest
from pandas.testing import assert_frame_equal as assert_pandas
from polars.testing import assert_frame_equal

from usher_pipeline.errors import SchemaMismatchError
from usher_pipeline.persistence import PipelineStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXACT = pl.DataFrame(
    {
        "time": [dt.time(1, 2, 3, 456)],
        "wait": [dt.timedelta(days=1, microseconds=3)],
        "zoned": pl.Series(
            [dt.datetime(2020, 1, 1, tzinfo=dt.UTC)], dtype=pl.Datetime("us", "Europe/Berlin")
        ),
        "word": pl.Series(["a"], dtype=pl.Categorical),
        "tier": pl.Series(["x"], dtype=pl.Enum(["x", "y"])),
        "small": pl.Series([1], dtype=pl.UInt8),
        "wide": pl.Series([2**100], dtype=pl.Int128),
        "list": [[1, 2]],
        "struct": [{"a": 1, "b": "q"}],
    }
)
GENES = pd.DataFrame(
    {
        "tier": pd.Categorical(["a", "b"]),
        "count": pd.array([1, None], dtype="Int64"),
        "day": pd.to_datetime(["2020-01-01", "2020-01-02"]),
        "wait": pd.to_timedelta([1, 2], unit="s"),
        "name": ["x", None],
        "rank": [1, 2],
        "found": [True, False],
    }
)
IRREGULAR = pd.DataFrame({"gene": list("abc"), "n": [1, 2, 3]}, index=[3, 0, 7])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PipelineStore]:
    """An open store in a folder of its own."""
    with PipelineStore(tmp_path / "store.duckdb") as opened:
        yield opened


def whole(store: PipelineStore, *parts: Any, as_polars: bool = False) -> Any:
    """Append frames to a table; return what it is then."""
    for part in parts:
        store.save_dataframe(part, "t", replace=False)
    return store.load_dataframe("t", as_polars=as_polars)


# --- types ------------------------------------------------------------------------------


def test_polars_types_outlive_an_append(store: PipelineStore) -> None:
    """Rows of other types that fit take on those of the table, which stay."""
    more = EXACT.with_columns(
        word=pl.lit("new"),
        tier=pl.lit("y"),
        small=pl.lit(None),
        wait=pl.col("wait").cast(pl.Duration("ms")),
    )
    loaded = whole(store, EXACT, more, as_polars=True)
    assert loaded.schema == EXACT.schema
    assert_frame_equal(loaded, pl.concat([EXACT, more.cast(EXACT.schema)]))


def test_pandas_types_outlive_an_append(store: PipelineStore) -> None:
    """The columns of a pandas frame keep their types, as those of pandas.concat do."""
    loaded = whole(store, GENES, GENES.copy())
    assert_pandas(loaded, pd.concat([GENES, GENES], ignore_index=True))


def test_pandas_types_become_the_next_of_their_kind(store: PipelineStore) -> None:
    """New words are more categories; a missing number makes a type that may lack numbers."""
    more = GENES.assign(
        tier=pd.Categorical(["z", "a"]),
        rank=pd.array([None, 2**60 + 1], dtype="Int64"),
        found=pd.array([None, True], dtype="boolean"),
    )
    loaded = whole(store, GENES, more)
    assert loaded["tier"].dtype == pd.CategoricalDtype(["a", "b", "z"])
    assert loaded["tier"].tolist() == ["a", "b", "z", "a"]
    assert (str(loaded["rank"].dtype), str(loaded["found"].dtype)) == ("Int64", "boolean")
    assert loaded["rank"].tolist() == [1, 2, pd.NA, 2**60 + 1]
    assert loaded["wait"].dtype == GENES["wait"].dtype


def test_more_categories_than_their_numbers_held(store: PipelineStore) -> None:
    """Categories may grow beyond the numbers that were wide enough for the first ones."""
    first = pd.DataFrame({"c": pd.Categorical(["w0"])})
    more = pd.DataFrame({"c": [f"w{n}" for n in range(300)]})
    assert whole(store, first, more)["c"].tolist() == ["w0", *more["c"]]


def test_a_column_of_nothing_takes_the_first_type(store: PipelineStore) -> None:
    """A column that was null throughout has the type of the first values that come."""
    loaded = whole(
        store,
        pl.DataFrame({"note": [None]}),
        pl.DataFrame({"note": ["text"]}),
        as_polars=True,
    )
    assert_frame_equal(loaded, pl.DataFrame({"note": [None, "text"]}))


def test_frames_without_columns_are_counted(store: PipelineStore) -> None:
    """Frames of nothing but rows add up."""
    empty = pl.DataFrame({"n": [1, 2]}).drop("n")
    assert whole(store, empty, empty, as_polars=True).width == 0
    assert store.list_checkpoints()[0]["row_count"] == empty.height * 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (pl.lit(5, pl.Int64).alias("wait"), "it means something else"),
        (pl.lit("no").alias("tier"), "not every value is one of Enum"),
        (pl.lit("text").alias("wide"), "it means something else"),
    ],
    ids=["number as duration", "word that the Enum lacks", "text as a wide number"],
)
def test_what_means_something_else_is_refused(
    store: PipelineStore, changed: pl.Expr, said: str
) -> None:
    """Rows that only look alike in SQL are an error, and the table stays."""
    store.save_dataframe(EXACT, "t")
    with pytest.raises(SchemaMismatchError, match=said):
        store.save_dataframe(EXACT.with_columns(changed), "t", replace=False)
    assert_frame_equal(store.load_dataframe("t"), EXACT)
    assert store.list_checkpoints()[0]["row_count"] == 1


def test_periods_are_no_numbers(store: PipelineStore) -> None:
    """Months are appended to months, not to years and not to counts."""
    months = pd.DataFrame({"p": pd.period_range("2020-01", periods=2, freq="M")})
    assert_pandas(whole(store, months, months), pd.concat([months, months], ignore_index=True))
    for other in (
        pd.DataFrame({"p": pd.period_range("2020", periods=2, freq="Y")}),
        pd.DataFrame({"p": [600, 601]}),
    ):
        with pytest.raises(SchemaMismatchError, match="it means something else"):
            store.save_dataframe(other, "t", replace=False)


# --- the index of rows ------------------------------------------------------------------


def test_a_range_goes_on(store: PipelineStore) -> None:
    """Pieces of one frame add up to it; ranges that start anew are counted through."""
    frame = pd.DataFrame({"n": range(10)})
    assert_pandas(whole(store, frame.iloc[:5], frame.iloc[5:]), frame)
    expected = pd.concat([frame, frame], ignore_index=True)
    assert_pandas(whole(store, frame), expected)


def test_indexes_of_one_kind_are_joined(store: PipelineStore) -> None:
    """A named index, and an unnamed one of the same type, is that of both parts."""
    named = GENES[["rank"]].set_index(pd.Index(["a", "b"], name="gene"))
    assert_pandas(whole(store, named, named), pd.concat([named, named]))
    store.delete_checkpoint("t")
    assert_pandas(whole(store, IRREGULAR, IRREGULAR), pd.concat([IRREGULAR, IRREGULAR]))


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (IRREGULAR, IRREGULAR.reset_index(drop=True)),
        (IRREGULAR.reset_index(drop=True), IRREGULAR),
        (IRREGULAR, IRREGULAR.set_index(pd.Index(list("xyz")))),
        (IRREGULAR, pl.DataFrame({"gene": list("abc"), "n": [1, 2, 3]})),
    ],
    ids=["then a range", "after a range", "another type", "polars"],
)
def test_an_unnamed_index_that_does_not_go_on_is_given_up(
    store: PipelineStore, first: Any, then: Any
) -> None:
    """An unnamed index stops no append and never becomes a column: the rows are counted."""
    loaded = whole(store, first, then)
    assert_pandas(loaded, pd.concat([IRREGULAR, IRREGULAR], ignore_index=True))
    assert store.execute_query("FROM t").columns == ["gene", "n"]


def test_an_unnamed_index_is_not_appended_to_polars(store: PipelineStore) -> None:
    """A filtered pandas frame fits a table that was saved from polars."""
    loaded = whole(store, pl.DataFrame({"gene": ["q"], "n": [0]}), IRREGULAR, as_polars=True)
    assert loaded.rows() == [("q", 0), ("a", 1), ("b", 2), ("c", 3)]
