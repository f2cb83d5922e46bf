"""What a schema says of the row index, without pandas."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pytest

from usher_pipeline.frames import adapter_of_kind, row_index

ADAPTER: Any = adapter_of_kind("pandas.DataFrame")
MOMENTS = pd.to_datetime(["2026-01-01", "2026-02-01"])


def schema_of(index: Any) -> dict[str, Any]:
    """Return the schema of a frame of one column with an index."""
    schema: dict[str, Any] = ADAPTER.to_arrow(pd.DataFrame({"n": [1, 2]}, index=index)).schema
    return schema


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (pd.RangeIndex(2), []),
        (pd.Index([5, 3]), [1]),
        (pd.Index([5, 3], name="gene"), []),
        (pd.MultiIndex.from_arrays([[1, 2], [3, 4]], names=["gene", None]), [2]),
    ],
)
def test_columns_without_a_name_are_known(index: Any, expected: list[int]) -> None:
    """Those of an index that is no range and has no name; polars has none."""
    assert row_index.unnamed(schema_of(index)) == expected
    polars: Any = adapter_of_kind("polars.DataFrame")
    assert row_index.unnamed(polars.to_arrow(pl.DataFrame({"a": [1]})).schema) == []


@pytest.mark.parametrize(
    "level",
    [
        pd.Index(["a", "b"], name="left"),
        pd.Index(MOMENTS, name="left"),
        pd.Index(MOMENTS.tz_localize("UTC"), name="left"),
        pd.Index(MOMENTS - MOMENTS[0], name="left"),
        pd.CategoricalIndex(["a", "b"], name="left"),
        pd.period_range("2026-01", periods=2, freq="M", name="left"),
        pd.interval_range(0, 2, name="left"),
    ],
    ids=lambda level: type(level).__name__,
)
def test_a_level_that_is_left_has_the_class_of_its_type(level: Any) -> None:
    """An index of which one level is left is what pandas makes of that level."""
    whole = schema_of(pd.MultiIndex.from_arrays([level, [7, 8]], names=["left", None]))
    left = row_index.of_levels(whole["index"], [0])
    assert left == {**schema_of(level)["index"], "freq": None}


@pytest.mark.parametrize(
    ("first", "then", "count", "expected"),
    [
        ([0, 3, 1], [3, 5, 1], 5, [0, 5, 1]),
        ([0, 4, 2], [4, 8, 2], 4, [0, 8, 2]),
        ([0, 3, 1], [0, 2, 1], 5, [0, 5, 1]),
        ([5, 8, 1], [0, 2, 1], 5, [0, 5, 1]),
        ([0, 3, 1], [3, 5, 1], 9, [0, 9, 1]),
    ],
    ids=["goes on", "in steps", "starts anew", "does not meet", "rows came by SQL"],
)
def test_ranges_go_on_or_are_counted_anew(
    first: list[int], then: list[int], count: int, expected: list[int]
) -> None:
    """A range that meets the end of the other one goes on; else the rows are counted."""
    before, added = ({**row_index.plain(0), "range": each} for each in (first, then))
    assert row_index.after_append(before, added, count)["range"] == expected
