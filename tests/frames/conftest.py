"""The two ways of a packed frame: through a segment, and through a table of DuckDB."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import duckdb
import pyarrow as pa
import pytest

from usher_pipeline.fingerprint.frames import column_digests
from usher_pipeline.frames.table_schema import from_sql, to_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from usher_pipeline.frames import Packed

    Ways: TypeAlias = Callable[[Packed], list[Packed]]


@pytest.fixture(scope="session")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """Give a database whose session is in a zone that nobody expects."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Kathmandu'")
        yield connection


@pytest.fixture
def both_ways(database: duckdb.DuckDBPyConnection, tmp_path: Path) -> Ways:
    """Give what sends a packed frame through a segment and through a table."""

    def sent(packed: Packed) -> list[Packed]:
        schema = json.loads(json.dumps(packed.schema, allow_nan=False))
        path = tmp_path / "segment.arrow"
        with pa.ipc.new_file(path, packed.table.schema) as writer:
            writer.write_table(packed.table)
        segment = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        segment.validate(full=True)
        database.register("packed", to_sql(packed.table, packed.schema["sql_names"]))
        database.execute("CREATE OR REPLACE TABLE sent AS SELECT * FROM packed")
        database.unregister("packed")
        fetched = database.sql("FROM sent").to_arrow_table()
        table = from_sql(fetched, packed.table.schema)
        assert column_digests(segment) == column_digests(packed.table)
        assert column_digests(table) == column_digests(packed.table)
        return [replace(packed, table=each, schema=schema) for each in (segment, table)]

    return sent
