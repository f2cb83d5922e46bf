"""A pandas Series that was stored comes back as it was, from a segment and from a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pytest

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.fingerprint.frames import frame_digest
from usher_pipeline.frames import adapter_of_kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from usher_pipeline.frames import Packed

ADAPTER: Any = adapter_of_kind("pandas.Series")


def _with(attrs: Any) -> pd.Series[Any]:
    series = pd.Series([1, 2], name="x")
    series.attrs = attrs
    return series


CASES: Final[dict[str, Any]] = {
    "named": pd.Series([1.5, np.nan], name="score"),
    "nameless": pd.Series([1, 2]),
    "name of a number": pd.Series([1], name=5),
    "name of a tuple": pd.Series([1], name=("a", 1)),
    "name of nothing": pd.Series(["x"], name=""),
    "masked": pd.Series([1, None], dtype="Int8", name="x"),
    "category": pd.Series(["b", None], dtype="category", name="x"),
    "zoned": pd.Series(pd.date_range("2026", periods=3, freq="D", tz="Europe/Zurich")),
    "text index": pd.Series([1, 2], index=["a", "b"], name="x"),
    "named index": pd.Series([1], index=pd.Index([7], name="gene")),
    "two levels": pd.Series(
        [1], index=pd.MultiIndex.from_tuples([("a", 1)], names=["g", None])
    ),
    "index named alike": pd.Series([1], index=pd.Index([7], name="x"), name="x"),
    "dates with a step": pd.Series([1, 2], index=pd.date_range("2026", periods=2, freq="MS")),
    "attrs": _with({"unit": "mg", "days": [1, 2]}),
    "flags": pd.Series([1], name="x").set_flags(allows_duplicate_labels=False),
    "no values": pd.Series([], dtype="float32", name="x"),
    "objects": pd.Series(["a", None], dtype=object, name="x"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_series_survives_both_ways(
    name: str, both_ways: Callable[[Packed], list[Packed]]
) -> None:
    """Name, type, values, index, attrs and flags are the same."""
    case = CASES[name]
    packed = ADAPTER.to_arrow(case)
    for sent in both_ways(packed):
        got = ADAPTER.from_arrow(sent.table, sent.schema)
        assert type(got) is pd.Series
        pd.testing.assert_series_equal(got, case, check_exact=True, check_freq=True)
        assert (type(got.name), got.name) == (type(case.name), case.name)
        assert type(got.index) is type(case.index)
        assert got.dtype == case.dtype
        assert got.attrs == case.attrs
        assert got.flags == case.flags
        assert frame_digest(ADAPTER.to_arrow(got)) == frame_digest(packed)


def test_a_restored_series_is_writable() -> None:
    """It owns its memory, and a change of it reaches nothing that was stored."""
    packed = ADAPTER.to_arrow(pd.Series([1, 2]))
    got = ADAPTER.from_arrow(packed.table, packed.schema)
    got.iloc[0] = 9
    assert packed.table.column(0).to_pylist() == [1, 2]


def test_what_would_not_come_back_is_refused() -> None:
    """A subclass, a name of an unknown type and mixed objects are named."""

    class Genes(pd.Series):
        pass

    with pytest.raises(UnsupportedFrameError, match=r"a subclass of pandas\.Series"):
        ADAPTER.to_arrow(Genes([1]))
    with pytest.raises(UnsupportedFrameError, match="the name of the series is"):
        ADAPTER.to_arrow(pd.Series([1], name=frozenset("a")))
    with pytest.raises(UnsupportedFrameError, match="column 'x' is object holding int, str"):
        ADAPTER.to_arrow(pd.Series([1, "a"], name="x", dtype=object))


def test_a_schema_of_another_kind_is_refused() -> None:
    """A series is restored by its own schema alone."""
    packed = ADAPTER.to_arrow(pd.Series([1]))
    with pytest.raises(ValueError, match=r"no pandas\.Series"):
        ADAPTER.from_arrow(packed.table, packed.schema | {"kind": "pandas.DataFrame"})


def test_the_other_verbs() -> None:
    """They are those of a frame of one column, which SQL calls value without a name."""
    series = pd.Series([1, 2])
    packed = ADAPTER.to_arrow(series)
    assert packed.schema["sql_names"] == ["value"]
    assert ADAPTER.describe(series) == (("value", "int64"),)
    assert ADAPTER.shape(series) == (2, 1)
    assert ADAPTER.collect(series) is series
    assert ADAPTER.from_plain(packed.table).tolist() == [1, 2]
    assert ADAPTER.holding({"numpy": "<i8"}, packed.table.column(0)) == {"numpy": "<i8"}
    assert ADAPTER.owns(series)
