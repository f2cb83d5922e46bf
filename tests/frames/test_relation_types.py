"""DuckDB types as plain data: what is written is read, and nothing else is."""

from __future__ import annotations

import duckdb
import pytest

from usher_pipeline.frames import relation_types


@pytest.mark.parametrize(
    ("sql", "data", "crossing"),
    [
        ("INTEGER", "INTEGER", "INTEGER"),
        ("HUGEINT", "HUGEINT", "VARCHAR"),
        ("DECIMAL(5,2)", {"DECIMAL": [5, 2]}, "DECIMAL(5,2)"),
        ("ENUM('a', 'it''s')", {"ENUM": ["a", "it's"]}, "ENUM('a', 'it''s')"),
        ("UUID[]", {"LIST": "UUID"}, "VARCHAR[]"),
        ("INTEGER[2]", {"ARRAY": ["INTEGER", 2]}, "INTEGER[2]"),
        ("MAP(VARCHAR, BIT)", {"MAP": ["VARCHAR", "BIT"]}, "MAP(VARCHAR, VARCHAR)"),
        (
            'STRUCT("a" DATE, "b""c" TIME)',
            {"STRUCT": [["a", "DATE"], ['b"c', "TIME"]]},
            'STRUCT("a" DATE, "b""c" TIME)',
        ),
    ],
)
def test_a_type_is_data_and_sql(sql: str, data: object, crossing: str) -> None:
    """A type is written as data, from which the same SQL is made."""
    with duckdb.connect() as connection:
        (dtype,) = connection.sql(f"SELECT NULL::{sql} AS x").types
        assert relation_types.to_json(dtype) == data
        assert relation_types.to_sql(data) == sql
        assert relation_types.crossing(data) == crossing


@pytest.mark.parametrize(
    "data",
    ["INT); DROP", {"DECIMAL": ["5", 2]}, {"ENUM": [1]}, {"ARRAY": ["DATE", "2"]}, 5, {}],
)
def test_what_is_no_type_is_refused(data: object) -> None:
    """What a store says of a type is not taken for SQL."""
    with pytest.raises(ValueError, match="describes no type"):
        relation_types.to_sql(data)
