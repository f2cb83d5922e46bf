"""A relation of DuckDB that was stored gives what it gave, from a segment and a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import duckdb
import pytest

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames import adapter_of_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from usher_pipeline.frames import Packed

ADAPTER: Any = adapter_of_kind("duckdb.DuckDBPyRelation")

ZONE: Final = "America/New_York"
#: Expressions, each of a type of its own.
CASES: Final = (
    "1::TINYINT", "1::SMALLINT", "1::INTEGER", "1::BIGINT", "255::UTINYINT",
    "1::USMALLINT", "1::UINTEGER", "18446744073709551615::UBIGINT", "true",
    "'-170141183460469231731687303715884105728'::HUGEINT",
    "340282366920938463463374607431768211455::UHUGEINT",
    "'123456789012345678901234567890123456789012345678901'::BIGNUM",
    "1.5::FLOAT", "'-0.0'::DOUBLE", "'Infinity'::DOUBLE",
    "1.10::DECIMAL(5,2)", "1.5::DECIMAL(38,10)", "'ß'", "'x'::BLOB", "'101'::BIT",
    "'b'::ENUM('a','b','it''s')", "'2a9f1c3e-5ef4-4e0c-9d6b-1f6f5ef40e0c'::UUID",
    "DATE '2026-02-16'", "TIME '12:30:01.5'", "'10:00:00+02'::TIMETZ",
    "TIMESTAMP '2026-02-16 12:30:01.000001'", "TIMESTAMP_S '2026-02-16 12:30:01'",
    "TIMESTAMP_MS '2026-02-16 12:30:01.5'", "TIMESTAMP_NS '2026-02-16 12:30:01.000000001'",
    "TIMESTAMPTZ '2026-02-16 12:30:01+02'", "TIME_NS '12:30:01.000000001'",
    "INTERVAL '14 months 3 days 4.000005 seconds'", "'{\"a\": [1]}'::JSON",
    "[1, NULL, 3]", "[[1], []]", "[1, 2]::INTEGER[2]", "['1 day'::INTERVAL]",
    "{'a': 1::HUGEINT, 'b c': ['x']}", "MAP {'a': 1}",
    "MAP {'a': '2a9f1c3e-5ef4-4e0c-9d6b-1f6f5ef40e0c'::UUID}",
    "[TIMESTAMPTZ '2026-02-16 12:30:01+02']", "{'t': TIMESTAMPTZ '2026-02-16 12:00:00+00'}",
)  # fmt: skip


@pytest.mark.parametrize("expression", [*CASES, "NULL"])
def test_a_relation_survives_both_ways(
    expression: str, both_ways: Callable[[Packed], list[Packed]]
) -> None:
    """Names, types of DuckDB and values are the same, missing ones included."""
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = '{ZONE}'")
        query = f'SELECT * FROM (SELECT {expression} AS "x y" UNION ALL SELECT NULL)'
        connection.execute(f"CREATE TABLE made AS {query}")
        relation = connection.sql("FROM made")
        collected = ADAPTER.collect(relation)
        packed = ADAPTER.to_arrow(collected)
        names, types = relation.columns, list(map(str, relation.types))
        values = _texts(relation)
        assert ADAPTER.describe(collected) == (("x y", types[0]),)
        assert ADAPTER.shape(collected) == (2, 1)
    for sent in both_ways(packed):
        for copy in (False, True):
            got = ADAPTER.from_arrow(sent.table, sent.schema, copy=copy)
            assert isinstance(got, duckdb.DuckDBPyRelation)
            assert got.columns == names
            assert list(map(str, got.types)) == types
            assert _texts(got) == values


@pytest.fixture(autouse=True)
def _one_zone() -> Iterator[None]:
    """Let the words for a moment be the same on the default connection."""
    duckdb.execute(f"SET TimeZone = '{ZONE}'")
    yield
    duckdb.execute("RESET TimeZone")


def _texts(relation: Any) -> Any:
    """Return the values in words of DuckDB."""
    return relation.project('"x y"::VARCHAR').fetchall()


@pytest.mark.parametrize(
    ("expression", "type_name"),
    [
        ("union_value(a := 1)", r"UNION\(a INTEGER\)"),
        ("[union_value(a := 1)]", r"UNION\(a INTEGER\)\[\]"),
        ("NULL::GEOMETRY", "GEOMETRY"),
    ],
)
def test_a_type_that_would_not_come_back_is_refused(expression: str, type_name: str) -> None:
    """The column and its type are named, with the cast to write."""
    with duckdb.connect() as connection:
        relation = connection.sql(f"SELECT 1 AS good, {expression} AS bad")
        with pytest.raises(UnsupportedFrameError, match=rf"'bad' is {type_name}.*::VARCHAR"):
            ADAPTER.collect(relation)


def test_columns_that_sql_takes_for_one_are_refused() -> None:
    """A relation can have two columns of one name, which nothing tells apart."""
    with duckdb.connect() as connection:
        relation = connection.sql("SELECT 1 AS a, 2 AS A")
        with pytest.raises(UnsupportedFrameError, match=r"columns a, A .*with AS"):
            ADAPTER.collect(relation)


def test_a_restored_relation_can_be_joined() -> None:
    """It belongs to the connection that `duckdb.sql` uses."""
    packed = ADAPTER.to_arrow(duckdb.sql("SELECT 1 AS a, 'x' AS b"))
    genes = ADAPTER.from_arrow(packed.table, packed.schema)
    joined: Any = duckdb.sql("SELECT b FROM genes JOIN (SELECT 1 AS a) USING (a)")
    assert joined.fetchall() == [("x",)]
    assert genes.columns == ["a", "b"]


def test_types_of_a_store_are_never_taken_as_sql() -> None:
    """A store that somebody else made can not bring statements along."""
    packed = ADAPTER.to_arrow(duckdb.sql("SELECT 1 AS a"))
    hostile = packed.schema | {"dtypes": ["INTEGER); COPY (SELECT 1) TO 'x'; --"]}
    with pytest.raises(ValueError, match="describes no type"):
        ADAPTER.from_arrow(packed.table, hostile)
    quoted = packed.schema | {"labels": ['a", (SELECT 1) AS "b']}
    assert ADAPTER.from_arrow(packed.table, quoted).columns == ['a", (SELECT 1) AS "b']


def test_a_schema_that_does_not_fit_is_refused() -> None:
    """A relation is restored by its own schema alone."""
    packed = ADAPTER.to_arrow(duckdb.sql("SELECT 1 AS a"))
    with pytest.raises(ValueError, match=r"no duckdb\.DuckDBPyRelation, format 1"):
        ADAPTER.from_arrow(packed.table, packed.schema | {"format": 2})
    with pytest.raises(ValueError, match="the schema has 1 columns, the table 0"):
        ADAPTER.from_arrow(packed.table.select([]), packed.schema)
    assert ADAPTER.from_plain(packed.table).fetchall() == [(1,)]
    assert ADAPTER.holding("INTEGER", packed.table.column(0)) == "INTEGER"
    assert not ADAPTER.owns(packed.table)
