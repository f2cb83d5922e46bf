"""A LazyFrame is run once, and comes back as a query that gives what it gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames import adapter_of_kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from usher_pipeline.frames import Packed

ADAPTER: Any = adapter_of_kind("polars.LazyFrame")


CASES: Final = {
    "numbers": pl.LazyFrame({"a": [1, None]}).with_columns(b=pl.col("a") * 2),
    "types": pl.LazyFrame(
        {"e": ["x"], "i": [2**100]}, schema={"e": pl.Enum(["x"]), "i": pl.Int128}
    ),
    "no rows": pl.LazyFrame({"a": [1]}).filter(pl.col("a") > 1),
    "no columns": pl.LazyFrame(),
}


@pytest.mark.parametrize("name", CASES)
def test_a_query_survives_both_ways(
    name: str, both_ways: Callable[[Packed], list[Packed]]
) -> None:
    """What the restored query gives is what the stored one gave, types included."""
    expected = CASES[name].collect()
    packed = ADAPTER.to_arrow(ADAPTER.collect(CASES[name]))
    for sent in both_ways(packed):
        got = ADAPTER.from_arrow(sent.table, sent.schema)
        assert type(got) is pl.LazyFrame
        assert_frame_equal(got.collect(), expected, check_exact=True)
        assert got.collect_schema() == expected.schema


def test_a_query_runs_once() -> None:
    """Packing what was collected does not run it again."""
    runs: list[int] = []

    def counted(frame: pl.DataFrame) -> pl.DataFrame:
        runs.append(1)
        return frame

    collected = ADAPTER.collect(pl.LazyFrame({"a": [1]}).map_batches(counted))
    packed = ADAPTER.to_arrow(collected)
    assert ADAPTER.describe(collected) == (("a", "Int64"),)
    assert ADAPTER.shape(collected) == (1, 1)
    ADAPTER.from_arrow(packed.table, packed.schema).collect()
    assert runs == [1]
    assert ADAPTER.to_arrow(pl.LazyFrame({"a": [1]})).schema == packed.schema


def test_what_would_not_come_back_is_refused() -> None:
    """A subclass, and a schema of another kind, are named."""

    class Query(pl.LazyFrame):
        pass

    with pytest.raises(UnsupportedFrameError, match=r"a subclass of polars\.LazyFrame"):
        ADAPTER.collect(Query({"a": [1]}))
    packed = ADAPTER.to_arrow(pl.LazyFrame({"a": [1]}))
    with pytest.raises(ValueError, match=r"no polars\.LazyFrame"):
        ADAPTER.from_arrow(packed.table, packed.schema | {"kind": "polars.DataFrame"})
    assert ADAPTER.from_plain(packed.table).collect().shape == (1, 1)
    assert ADAPTER.holding("Int64", packed.table.column(0)) == "Int64"
    assert ADAPTER.owns(pl.LazyFrame())
