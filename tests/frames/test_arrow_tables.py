"""An Arrow table that was stored comes back as it was, from a segment and from a table."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from polars.testing.parametric import dataframes

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.fingerprint.frames import column_digests, frame_digest
from usher_pipeline.frames import adapter_of_kind
from usher_pipeline.frames.table_schema import from_sql, to_sql

if TYPE_CHECKING:
    from collections.abc import Callable

    from usher_pipeline.frames import Packed

ADAPTER: Final = adapter_of_kind("pyarrow.Table")
#: What polars itself does not hand to Arrow.
EXCLUDED: Final = [
    getattr(pl, name)
    for name in ("Extension", "Int128", "UInt128", "Object")
    if hasattr(pl, name)
]
MOMENT: Final = dt.datetime(2026, 2, 16, 12, 30, 1, 500_000, dt.UTC)


def column(values: Any, dtype: pa.DataType) -> pa.Table:
    """Return a table of one column."""
    return pa.table({"x": pa.array(values, dtype)})


def of_fields(*fields: pa.Field) -> pa.Table:
    """Return a table of empty columns with exactly these fields."""
    return pa.schema(fields).empty_table()


ORDERED: Final = pa.DictionaryArray.from_arrays(
    pa.array([1, 0, None], pa.int8()), pa.array(["low", "high", "unused"]), ordered=True
)
CASES: Final[dict[str, pa.Table]] = {
    "numbers": pa.table({"a": [1, None], "b": [1.5, float("nan")], "c": [True, None]}),
    **{
        str(dtype): column([0, 1, None], dtype)
        for dtype in (
            *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
            *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
            *(pa.float16(), pa.float32(), pa.float64()),
            *(pa.date32(), pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
            *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
            *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
            *(pa.timestamp(unit, "Europe/Zurich") for unit in ("s", "ms", "us", "ns")),
        )
    },
    "offset zone": column([MOMENT], pa.timestamp("us", "+05:45")),
    "date64": column([dt.date(2026, 2, 16), None], pa.date64()),
    "text": column(["", "\0", "ß", None], pa.string()),
    "large text": column(["a", None], pa.large_string()),
    "text views": column(["a", "a much longer text than fits inside", None], pa.string_view()),
    "binary": column([b"", b"\0", None], pa.binary()),
    "binary views": column([b"x", None], pa.binary_view()),
    "fixed binary": column([b"abc", None], pa.binary(3)),
    "nulls": column([None, None], pa.null()),
    "decimal": column([Decimal("1.10"), None], pa.decimal128(5, 2)),
    "wide decimal": column([Decimal("1.10"), None], pa.decimal256(50, 2)),
    "lists": column([[1, None], [], None], pa.list_(pa.int32())),
    "large lists": column([[1], None], pa.large_list(pa.int32())),
    "arrays": column([[1, 2], None], pa.list_(pa.int32(), 2)),
    "structs": column(
        [{"a": 1, "b": None}, None], pa.struct({"a": pa.int8(), "b": pa.string()})
    ),
    "maps": column([[("a", 1), ("a", 2)], None], pa.map_(pa.string(), pa.int64())),
    "dictionary": pa.table({"x": pa.array(["b", "a", None, "b"]).dictionary_encode()}),
    "ordered dictionary": pa.table({"x": ORDERED}),
    "dictionaries in chunks": pa.table(
        {
            "x": pa.chunked_array(
                [
                    pa.array(["b", "a"]).dictionary_encode(),
                    pa.array(["a", "c"]).dictionary_encode(),
                ]
            )
        }
    ),
    "dictionaries in chunks of lists": pa.table(
        {
            "x": pa.chunked_array(
                [
                    pa.array([["b"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
                    pa.array([["a"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
                ]
            )
        }
    ),
    "chunks": pa.table({"x": pa.chunked_array([[1], [], [2, 3]])}),
    "sliced": pa.table({"x": list(range(10)), "y": list("abcdefghij")}).slice(3, 4),
    "no rows": column([], pa.string()),
    "no columns": pa.table({"x": [1, 2]}).select([]),
    "metadata": pa.table({"x": [1]}).replace_schema_metadata({"source": "gnomad v4"}),
    "metadata alone": pa.table({"x": [1]}).select([]).replace_schema_metadata({"a": "b"}),
    "metadata of a field": of_fields(pa.field("x", pa.int8(), metadata={"unit": "mg"})),
    "not nullable": of_fields(pa.field("x", pa.int8(), nullable=False)),
    "names alike": of_fields(*(pa.field(name, pa.int8()) for name in ("a", "a", "A", ""))),
    "a name with NUL": of_fields(pa.field("a\0b", pa.int8())),
    "uuid": pa.table({"x": pa.array([b"0" * 16, None], pa.uuid())}),
    "json": pa.table({"x": pa.array(['{"a": 1}', None], pa.json_())}),
}
UNSUPPORTED: Final[dict[str, pa.Table]] = {
    "interval": column([(1, 2, 3)], pa.month_day_nano_interval()),
    "run-end encoded": pa.table(
        {"x": pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), ["a"])}
    ),
    "union": pa.table(
        {"x": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])}
    ),
    "list views": column([[1]], pa.list_view(pa.int8())),
    "text views in lists": column([["a"]], pa.list_(pa.string_view())),
    "ordered dictionary of floats": pa.table(
        {"x": pa.DictionaryArray.from_arrays([0], pa.array([0.5]), ordered=True)}
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_table_survives_both_ways(
    name: str, both_ways: Callable[[Packed], list[Packed]]
) -> None:
    """Schema with metadata, and values, are the same; the digest is as well."""
    case = CASES[name]
    packed = ADAPTER.to_arrow(case)
    for sent in both_ways(packed):
        for copy in (False, True):
            got = ADAPTER.from_arrow(sent.table, sent.schema, copy=copy)
            assert got.schema.equals(case.schema, check_metadata=True)
            assert got.num_rows == case.num_rows
            assert list(map(str, map(pa.ChunkedArray.to_pylist, got.columns))) == list(
                map(str, map(pa.ChunkedArray.to_pylist, case.columns))
            )
            assert frame_digest(ADAPTER.to_arrow(got)) == frame_digest(packed)
            got.validate(full=True)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(frame=dataframes(max_cols=6, max_size=12, excluded_dtypes=EXCLUDED))
def test_any_table_survives(frame: pl.DataFrame) -> None:
    """Tables of random types and values come back, or are refused by column."""
    table = frame.to_arrow()
    packed = None
    with suppress(UnsupportedFrameError):
        packed = ADAPTER.to_arrow(table)
    if packed is None:
        return
    got = ADAPTER.from_arrow(packed.table, packed.schema)
    assert got.schema.equals(table.schema, check_metadata=True)
    assert frame_digest(ADAPTER.to_arrow(got)) == frame_digest(packed)
    back = from_sql(to_sql(packed.table, packed.schema["sql_names"]), packed.table.schema)
    assert column_digests(back) == column_digests(packed.table)


def test_the_order_of_an_ordered_dictionary_is_kept(
    both_ways: Callable[[Packed], list[Packed]],
) -> None:
    """What comes before what is content, values that do not occur included."""
    for sent in both_ways(ADAPTER.to_arrow(CASES["ordered dictionary"])):
        got = ADAPTER.from_arrow(sent.table, sent.schema)
        assert got["x"].chunk(0).dictionary.to_pylist() == ["low", "high", "unused"]


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_would_not_come_back_is_refused(name: str) -> None:
    """The column, its type and the cure are named."""
    with pytest.raises(UnsupportedFrameError, match=r"column 'x' is .*\. .*(Cast|drop)"):
        ADAPTER.to_arrow(UNSUPPORTED[name])


@pytest.mark.parametrize(
    "value",
    [
        pa.field("v", pa.int8(), metadata={"q": "1"}),
        pa.field("V", pa.int8()),
        pa.field("v", pa.int8(), nullable=False),
    ],
    ids=str,
)
def test_the_fields_of_a_map_come_back_or_are_refused(
    value: pa.Field, both_ways: Callable[[Packed], list[Packed]]
) -> None:
    """Arrow files do not keep all that a field of a map can say."""
    case = pa.table({"x": pa.array([[("a", 1)]], pa.map_(pa.string(), value))})
    packed = None
    with suppress(UnsupportedFrameError):
        packed = ADAPTER.to_arrow(case)
    if packed is None:
        return
    for sent in both_ways(packed):
        assert sent.table.schema.equals(packed.table.schema, check_metadata=True)
        got = ADAPTER.from_arrow(sent.table, sent.schema)
        assert got.schema.equals(case.schema, check_metadata=True)
        assert got.equals(case)


def test_a_schema_of_another_kind_is_refused() -> None:
    """A table is restored by its own schema alone."""
    packed = ADAPTER.to_arrow(pa.table({"x": [1]}))
    with pytest.raises(ValueError, match=r"no pyarrow.Table, format 1"):
        ADAPTER.from_arrow(packed.table, packed.schema | {"kind": "polars.DataFrame"})
    with pytest.raises(ValueError, match="the schema has 1 columns, the table 0"):
        ADAPTER.from_arrow(packed.table.select([]), packed.schema)


def test_values_that_an_order_does_not_know_are_refused() -> None:
    """Somebody wrote another word into the table by SQL."""
    packed = ADAPTER.to_arrow(CASES["ordered dictionary"])
    with pytest.raises(ValueError, match="does not order"):
        ADAPTER.from_arrow(packed.table, packed.schema | {"orders": [["low"]]})


def test_added_values_must_be_of_the_type() -> None:
    """A column takes in values of its own type only."""
    words = pa.chunked_array([["a"]])
    assert ADAPTER.holding("string", words) == "string"
    with pytest.raises(ValueError, match="int64 does not hold values of string"):
        ADAPTER.holding("int64", words)
    assert ADAPTER.from_plain(CASES["numbers"]) is CASES["numbers"]
    assert ADAPTER.shape(CASES["numbers"]) == (2, 3)
    assert ADAPTER.describe(CASES["text"]) == (("x", "string"),)
    assert ADAPTER.owns(CASES["text"])
    assert ADAPTER.collect(CASES["text"]) is CASES["text"]
