"""Arrow tables go to DuckDB under natural types, and come back exactly or not at all."""

from __future__ import annotations

from typing import Any, Final

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher_pipeline.fingerprint.frames import column_digests
from usher_pipeline.frames.arrays import owned
from usher_pipeline.frames.naming import sql_names
from usher_pipeline.frames.table_schema import (
    from_sql,
    sql_type,
    to_sql,
    unusual_nans,
    with_nans,
)

LABELS: Final = st.lists(
    st.text(max_size=4) | st.sampled_from(["a", "A", "a_1", "A_1", "", "\0"])
)


# --- names ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["gene", "score"], ["gene", "score"]),
        (["a", "A", "a"], ["a", "A_1", "a_2"]),
        (["a", "a", "a_1"], ["a", "a_2", "a_1"]),
        (["É", "é"], ["É", "é"]),
        (["", ""], ["column_0", "column_1"]),
        (["a\0b"], ["a␀b"]),
        (["\ud800"], ["?"]),
        (["select", "rowid", 'quo"te'], ["select", "rowid", 'quo"te']),
    ],
)
def test_a_name_is_its_label_where_that_can_be(labels: list[str], names: list[str]) -> None:
    """Only what DuckDB would refuse, or take for another name, is changed."""
    assert sql_names(labels) == names


@given(labels=LABELS)
def test_names_never_clash(labels: list[str]) -> None:
    """Whatever the labels, DuckDB keeps all names apart and as they are."""
    names = sql_names(labels)
    folded = {"".join(c.lower() if c.isascii() else c for c in name) for name in names}
    assert len(folded) == len(labels)
    assert all(name and "\0" not in name for name in names)


def test_duckdb_keeps_every_name() -> None:
    """The names come back from a table as they went in."""
    names = sql_names(
        ["a", "A", "", "x\0", "É", "é", "ß", "ẞ", "a b", '"', "_rows", "\n", "n" * 999]
    )
    packed = pa.table({str(i): [i] for i in range(len(names))})
    connection = duckdb.connect()
    connection.register("packed", to_sql(packed, names))
    connection.execute("CREATE TABLE t AS SELECT * FROM packed")
    assert connection.sql("SELECT * FROM t").columns == names
    connection.close()


# --- types ------------------------------------------------------------------------------

TYPES: Final = [
    (pa.int8(), "TINYINT"),
    (pa.uint64(), "UBIGINT"),
    (pa.float16(), "FLOAT"),
    (pa.float64(), "DOUBLE"),
    (pa.bool_(), "BOOLEAN"),
    (pa.large_string(), "VARCHAR"),
    (pa.dictionary(pa.int8(), pa.string()), "VARCHAR"),
    (pa.dictionary(pa.int8(), pa.int64()), "BIGINT"),
    (pa.null(), "VARCHAR"),
    (pa.binary(3), "BLOB"),
    (pa.date32(), "DATE"),
    (pa.date64(), "TIMESTAMP_MS"),
    (pa.time32("s"), "TIME"),
    (pa.timestamp("s"), "TIMESTAMP_S"),
    (pa.timestamp("ms"), "TIMESTAMP_MS"),
    (pa.timestamp("us"), "TIMESTAMP"),
    (pa.timestamp("ns"), "TIMESTAMP_NS"),
    (pa.timestamp("s", "Asia/Tokyo"), "TIMESTAMP WITH TIME ZONE"),
    (pa.timestamp("ns", "Asia/Tokyo"), "TIMESTAMP_NS"),
    (pa.duration("ms"), "BIGINT"),
    (pa.decimal128(38, 2), "DECIMAL(38,2)"),
    (pa.decimal256(50, 2), "VARCHAR"),
    (pa.list_(pa.int8()), "TINYINT[]"),
    (pa.list_(pa.int8(), 2), "TINYINT[2]"),
    (pa.map_(pa.string(), pa.int8()), 'STRUCT("key" VARCHAR, "value" TINYINT)[]'),
    (pa.struct([]), "BOOLEAN"),
    (
        pa.struct([("", pa.int8()), ("a", pa.int8()), ("A", pa.int8())]),
        "STRUCT(column_0 TINYINT, a TINYINT, A_1 TINYINT)",
    ),
]


@pytest.mark.parametrize(("dtype", "expected"), TYPES, ids=str)
def test_a_column_has_a_natural_type(dtype: pa.DataType, expected: str) -> None:
    """Plain SQL finds the type that a person would choose; nulls come back as nulls."""
    packed = pa.table({"0": pa.array([None, None], dtype)})
    connection = duckdb.connect()
    connection.register("packed", to_sql(packed, ["x"]))
    connection.execute("CREATE TABLE t AS SELECT * FROM packed")
    found = connection.sql("SELECT typeof(x) FROM t").fetchall()[0][0]
    back = from_sql(connection.sql("SELECT * FROM t").to_arrow_table(), packed.schema)
    connection.close()
    assert found.replace('"', "") == expected.replace('"', "")
    assert back.equals(packed)
    assert back.schema.equals(packed.schema)


@pytest.mark.parametrize(
    "dtype",
    [
        pa.month_day_nano_interval(),
        pa.string_view(),
        pa.list_view(pa.int8()),
        pa.sparse_union([]),
    ],
)
def test_a_type_without_place_is_refused(dtype: pa.DataType) -> None:
    """A type that DuckDB would not give back exactly is an error before anything is written."""
    with pytest.raises(ValueError, match="no DuckDB type holds"):
        sql_type(pa.list_(dtype))


def test_values_are_what_sql_shows() -> None:
    """A category is its text, a span its count, a half float its number."""
    packed = pa.table(
        [
            pa.array(["x", None]).dictionary_encode(),
            pa.array([5, None], pa.duration("ms")),
            pa.array([1.5, None], pa.float16()),
        ],
        names=["0", "1", "2"],
    )
    connection = duckdb.connect()
    connection.register("packed", to_sql(packed, ["c", "d", "h"]))
    rows = connection.sql("SELECT * FROM packed").fetchall()
    connection.close()
    assert rows == [("x", 5, 1.5), (None, None, None)]


# --- there and back ---------------------------------------------------------------------


@pytest.mark.parametrize("slices", [1, 3])
def test_nested_values_come_back(slices: int) -> None:
    """Lists, structs and maps keep nulls at every level, also sliced and in chunks."""
    inner = pa.struct([("l", pa.list_(pa.int8())), ("d", pa.duration("s"))])
    cells: list[Any] = [None, [], [None], [{"l": [1, None], "d": 5}, {"l": None, "d": None}]]
    packed = pa.table(
        {
            "0": pa.array(cells, pa.list_(inner)),
            "1": pa.array([None, [1, 2], [None, 3], [4, 5]], pa.list_(pa.int8(), 2)),
            "2": pa.array(
                [None, [], [("a", 1)], [("a", None), ("a", 2)]], pa.map_(pa.string(), pa.int8())
            ),
            "3": pa.array([None, {}, {}, None], pa.struct([])),
        }
    )
    parts = pa.concat_tables([packed.slice(i, 4 // slices) for i in range(slices)])
    back = from_sql(to_sql(parts, ["a", "b", "c", "d"]), packed.schema)
    back.validate(full=True)
    assert back.to_pylist() == parts.to_pylist()
    assert column_digests(back) == column_digests(parts)


def test_a_table_without_columns_keeps_its_rows() -> None:
    """Three rows of nothing are still three rows."""
    packed = pa.table({"x": [1, 2, 3]}).select([])
    assert to_sql(packed, []).column_names == ["_rows"]
    assert from_sql(to_sql(packed, []), packed.schema).num_rows == 3


@pytest.mark.parametrize(
    ("found", "stored", "message"),
    [
        (pa.array([1.5]), pa.int64(), "holds double, which does not become int64"),
        (pa.array([1.1]), pa.float32(), "holds double, which does not become float"),
        (pa.array([0.1], pa.float32()), pa.float16(), "does not become halffloat"),
        (pa.array(["a"]), pa.int64(), "holds string, which does not become int64"),
        (pa.array([1]), pa.string(), "holds int64, which does not become string"),
        (pa.array(["a"]), pa.null(), "holds values where there were none"),
        (
            pa.array(["abc"]).cast(pa.binary()),
            pa.binary(2),
            "does not become fixed_size_binary",
        ),
        (pa.array(["x"]), pa.decimal256(50, 2), "does not become decimal256"),
        (
            pa.array([1], pa.timestamp("us")),
            pa.timestamp("ms", "UTC"),
            "does not become timestamp",
        ),
        (
            pa.array([1], pa.timestamp("us", "UTC")),
            pa.timestamp("ms", "UTC"),
            "would lose data",
        ),
        (
            pa.array([[1, 2, 3]], pa.list_(pa.int8(), 3)),
            pa.list_(pa.int8(), 2),
            "does not become",
        ),
        (pa.array([[1]]), pa.list_(pa.int64(), 2), "does not become fixed_size_list"),
        (pa.array([1]), pa.list_(pa.int64()), "holds int64, which does not become list"),
        (
            pa.array([{"a": 1}]),
            pa.struct([("a", pa.int64()), ("b", pa.int64())]),
            "does not become",
        ),
        (pa.array([1]), pa.struct([]), "holds int64, which does not become struct<>"),
        (
            pa.array([str(i) for i in range(300)]),
            pa.dictionary(pa.int8(), pa.string()),
            "300|not in range",
        ),
    ],
)
def test_a_table_that_was_changed_is_refused(found: Any, stored: Any, message: str) -> None:
    """A column that is no longer what was published is an error, not another value."""
    with pytest.raises(ValueError, match=message):
        from_sql(pa.table({"x": found}), pa.schema([("0", stored)]))


def test_a_table_of_another_width_is_refused() -> None:
    """Columns are told by position, so their number must agree."""
    with pytest.raises(ValueError, match="the table has 2 columns, 1 were stored"):
        from_sql(pa.table({"a": [1], "b": [2]}), pa.schema([("0", pa.int64())]))


def test_a_moment_beyond_duckdb_is_refused() -> None:
    """A second that has no count of microseconds is an error, not another second."""
    far = pa.table({"0": pa.array([2**60], pa.timestamp("s", "UTC"))})
    with pytest.raises(ValueError, match=r"does not become timestamp\[us, tz=UTC\]"):
        to_sql(far, ["x"])


def test_an_owned_column_shares_no_memory() -> None:
    """A copy has buffers of its own, in one chunk, also of a dictionary."""
    words = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode()] * 2)
    for column in (pa.chunked_array([[1, 2]]), words, pa.chunked_array([], pa.string())):
        copied = owned(column)
        assert copied.num_chunks == 1
        assert copied.to_pylist() == column.to_pylist()
        before = {b.address for c in column.chunks for b in c.buffers() if b and b.size}
        assert not before & {b.address for b in copied.chunk(0).buffers() if b and b.size}


def test_nans_are_told_by_their_bits() -> None:
    """Where all of a column are alike, they can be given back; others are left alone."""
    nan = pa.array([-1], pa.int64()).view(pa.float64())
    other = pa.array([-2], pa.int64()).view(pa.float64())
    usual = pa.array([float("nan")])
    table = pa.table(
        {"0": nan, "1": usual, "2": [1.0], "3": [1], "4": pa.nulls(1, pa.float32())}
    )
    assert unusual_nans(table) == {"0": -1}
    assert unusual_nans(pa.table({"0": pa.chunked_array([nan, other])})) == {}
    lost = pa.table({"0": pa.chunked_array([usual, pa.array([1.0, None])])})
    given = with_nans(lost, {"0": -1})["0"]
    assert given.chunk(0).view(pa.int64()).to_pylist() == [-1]
    assert given.chunk(1).to_pylist() == [1.0, None]
    with pytest.raises(ValueError, match="no column '7' of numbers"):
        with_nans(table, {"7": -1})
    with pytest.raises(ValueError, match="no column '3' of numbers"):
        with_nans(table, {"3": -1})
