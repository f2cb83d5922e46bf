"""A polars Series that was stored comes back as it was, from a segment and from a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from polars.testing import assert_series_equal
from polars.testing.parametric import series

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.fingerprint.frames import frame_digest
from usher_pipeline.frames import adapter_of_kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from usher_pipeline.frames import Packed

ADAPTER: Final = adapter_of_kind("polars.Series")
EXTENSIONS: Final = [pl.Extension] if hasattr(pl, "Extension") else []


def assert_exact(got: Any, expected: pl.Series) -> None:
    """Check that two series agree in all that a series says."""
    assert type(got) is pl.Series
    assert got.name == expected.name
    assert repr(got.dtype) == repr(expected.dtype)
    assert_series_equal(got, expected, check_exact=True)


@pytest.mark.parametrize(
    "case",
    [
        pl.Series("x", [1, None, 3]),
        pl.Series([1.5]),
        pl.Series("", ["a"]),
        pl.Series("d", [1, None], dtype=pl.Duration("ms")),
        pl.Series("i", [2**100, None], dtype=pl.Int128),
        pl.Series("e", ["b", None], dtype=pl.Enum(["a", "b"])),
        pl.Series("l", [[1, 2], []], dtype=pl.List(pl.Int8)),
        pl.Series("n", [], dtype=pl.Null),
    ],
    ids=repr,
)
def test_a_series_survives_both_ways(
    case: pl.Series, both_ways: Callable[[Packed], list[Packed]]
) -> None:
    """Name, type and values are the same."""
    packed = ADAPTER.to_arrow(case)
    for sent in both_ways(packed):
        for copy in (False, True):
            assert_exact(ADAPTER.from_arrow(sent.table, sent.schema, copy=copy), case)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(case=series(max_size=12, allow_masked_out_nulls=False, excluded_dtypes=EXTENSIONS))
def test_any_series_survives(case: pl.Series) -> None:
    """Series of random types and values come back."""
    packed = ADAPTER.to_arrow(case)
    got = ADAPTER.from_arrow(packed.table, packed.schema)
    assert repr(got.dtype) == repr(case.dtype)
    assert frame_digest(ADAPTER.to_arrow(got)) == frame_digest(packed)


def test_a_series_is_no_frame_of_one_column() -> None:
    """The same values as a series and as a frame have two digests."""
    column = pl.Series("x", [1])
    frames = adapter_of_kind("polars.DataFrame")
    assert frame_digest(ADAPTER.to_arrow(column)) != frame_digest(
        frames.to_arrow(column.to_frame())
    )


def test_what_would_not_come_back_is_refused() -> None:
    """A subclass, and objects, are named."""

    class Genes(pl.Series):
        pass

    with pytest.raises(UnsupportedFrameError, match=r"a subclass of polars\.Series"):
        ADAPTER.to_arrow(Genes("x", [1]))
    with pytest.raises(UnsupportedFrameError, match="column 'x' is Object"):
        ADAPTER.to_arrow(pl.Series("x", [object()], dtype=pl.Object))


def test_a_schema_of_another_kind_is_refused() -> None:
    """A series is restored by its own schema alone."""
    packed = ADAPTER.to_arrow(pl.Series("x", [1]))
    with pytest.raises(ValueError, match=r"no polars\.Series"):
        ADAPTER.from_arrow(packed.table, packed.schema | {"kind": "polars.DataFrame"})


def test_the_other_verbs() -> None:
    """They are those of a frame of one column."""
    column = pl.Series("x", [1, 2])
    packed = ADAPTER.to_arrow(column)
    assert ADAPTER.collect(column) is column
    assert ADAPTER.describe(column) == (("x", "Int64"),)
    assert ADAPTER.shape(column) == (2, 1)
    assert ADAPTER.from_plain(packed.table).to_list() == [1, 2]
    assert ADAPTER.holding("Int64", packed.table.column(0)) == "Int64"
    assert ADAPTER.owns(column)
    assert not ADAPTER.owns(column.to_frame())
