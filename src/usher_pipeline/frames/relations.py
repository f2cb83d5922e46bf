"""DuckDB relations ↔ Arrow: run once, and a relation on the stored values after that.

What comes back is a relation of `duckdb.default_connection()`, the one that `duckdb.sql`
uses, so that it can be joined with others there; in another thread than the main one, of a
cursor of it, since a connection serves one thread at a time.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

import duckdb
import pyarrow as pa

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames import relation_types
from usher_pipeline.frames.arrays import has_dictionary, owned, sized_table
from usher_pipeline.frames.contract import SCHEMA_FORMAT, Packed
from usher_pipeline.frames.naming import sql_names
from usher_pipeline.frames.relation_types import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ADAPTER", "RelationAdapter"]

_UTC: Final = "UTC"
#: How many rows a query hands out at a time.
_BATCH_ROWS: Final = 1 << 17


class _Collected(NamedTuple):
    """A relation that was run.

    Attributes:
        names: The columns.
        types: Their types, as plain data.
        texts: Their types, as DuckDB says them.
        table: The values, as they cross to Arrow.
    """

    names: list[str]
    types: list[Any]
    texts: list[str]
    table: pa.Table


class RelationAdapter:
    """The verbs for `duckdb.DuckDBPyRelation`."""

    kind: ClassVar[str] = "duckdb.DuckDBPyRelation"
    tabular: ClassVar[str] = ""
    is_lazy: ClassVar[bool] = True

    def owns(self, value: object) -> bool:
        """Return whether `value` is a relation of DuckDB."""
        return isinstance(value, duckdb.DuckDBPyRelation)

    def collect(self, frame: duckdb.DuckDBPyRelation) -> _Collected:
        """Return what the relation gives; this runs its query.

        Raises:
            UnsupportedFrameError: A type in it does not come back exactly.
        """
        with _closed_as_unsupported():
            outward, asked = self._outward(frame)
            return outward._replace(table=asked.to_arrow_table())

    def parts(self, frame: duckdb.DuckDBPyRelation) -> Iterator[_Collected]:
        """Yield what the relation gives, in order; this runs its query.

        Raises:
            UnsupportedFrameError: A type in it does not come back exactly.
        """
        with _closed_as_unsupported():
            outward, asked = self._outward(frame)
            if any(map(_is_inside, outward.table.schema.types)):
                # The words of an ENUM inside another type have no dictionary that could grow.
                yield outward._replace(table=asked.to_arrow_table())
                return
            reader = asked.to_arrow_reader(_BATCH_ROWS)
            yield outward._replace(table=reader.schema.empty_table())
            for batch in reader:
                yield outward._replace(table=pa.Table.from_batches([batch]))

    def _outward(
        self, frame: duckdb.DuckDBPyRelation
    ) -> tuple[_Collected, duckdb.DuckDBPyRelation]:
        """Return what is known of a relation before it runs, and what has to be asked."""
        names = frame.columns
        if len({name.lower() for name in names}) < len(names):
            raise UnsupportedFrameError(
                "the relation",
                f"one whose columns {', '.join(names)} are not told apart by DuckDB",
                "Give each column a name of its own, with AS.",
            )
        types = [_described(*pair) for pair in zip(names, frame.types, strict=True)]
        texts = list(map(str, frame.types))
        if any(map(_is_cast, types)):
            frame = frame.project(", ".join(map(_outward, names, types)))
        return _Collected(names, types, texts, frame.limit(0).to_arrow_table()), frame

    def to_arrow(self, frame: _Collected | duckdb.DuckDBPyRelation) -> Packed:
        """Return what a relation gave as Arrow table and schema.

        Raises:
            UnsupportedFrameError: Something in it could not be restored exactly.
        """
        found = frame if isinstance(frame, _Collected) else self.collect(frame)
        columns = [_without_session(column) for column in found.table.columns]
        schema = {
            "kind": self.kind,
            "format": SCHEMA_FORMAT,
            "rows": found.table.num_rows,
            "labels": found.names,
            "dtypes": found.types,
            "sql_names": sql_names(found.names),
        }
        return Packed(sized_table(columns, found.table.num_rows), schema, self.kind)

    def from_arrow(
        self, table: pa.Table, schema: Mapping[str, Any], *, copy: bool = False
    ) -> duckdb.DuckDBPyRelation:
        """Return a relation of the default connection that gives what the other one gave.

        Args:
            table: Its table.
            schema: Its schema, which may have gone through JSON.
            copy: Whether the relation must own its memory.

        Raises:
            ValueError: The schema is of another kind or format, or does not fit the table.
        """
        if (schema.get("kind"), schema.get("format")) != (self.kind, SCHEMA_FORMAT):
            raise ValueError(f"the schema is of no {self.kind}, format {SCHEMA_FORMAT}")
        names, types = schema["labels"], schema["dtypes"]
        if not len(names) == len(types) == table.num_columns:
            raise ValueError(
                f"the schema has {len(names)} columns, the table {table.num_columns}"
            )
        columns = [owned(column) for column in table.columns] if copy else table.columns
        places = list(map(str, range(len(columns))))
        made = pa.Table.from_arrays(columns, places)
        columns_in = ", ".join(map(_inward, places, names, types))
        return _connection().from_arrow(made).project(columns_in)

    def from_plain(self, table: pa.Table) -> duckdb.DuckDBPyRelation:
        """Return a relation of the default connection on any Arrow table."""
        return _connection().from_arrow(table)

    def holding(self, described: Any, column: pa.ChunkedArray) -> Any:  # noqa: ARG002
        """Return the type of a column; the table that it lies in has checked the values."""
        return described

    def describe(self, frame: _Collected) -> tuple[tuple[str, str], ...]:
        """Return name and type of each column, as text."""
        return tuple(zip(frame.names, frame.texts, strict=True))

    def shape(self, frame: _Collected) -> tuple[int, int]:
        """Return the numbers of rows and of columns."""
        return frame.table.num_rows, len(frame.names)


ADAPTER: Final = RelationAdapter()


def _connection() -> duckdb.DuckDBPyConnection:
    """Return the connection that relations belong to: one for each thread, as DuckDB asks."""
    shared = duckdb.default_connection()
    if threading.current_thread() is threading.main_thread():
        return shared
    if not hasattr(_own, "connection"):
        _own.connection = shared.cursor()
    return _own.connection  # type: ignore[no-any-return]


_own: Final = threading.local()


@contextmanager
def _closed_as_unsupported() -> Iterator[None]:
    """Say what can not be run any more, since its connection was closed."""
    try:
        yield
    except duckdb.ConnectionException as problem:
        cure = "Return it from a connection that stays open, or return its .pl()."
        raise UnsupportedFrameError("the relation", f"no more: {problem}", cure) from None


def _is_inside(dtype: pa.DataType) -> bool:
    """Tell whether there is a dictionary inside a type."""
    return has_dictionary(dtype) and not pa.types.is_dictionary(dtype)


def _described(name: str, dtype: Any) -> Any:
    try:
        return relation_types.to_json(dtype)
    except ValueError:
        cure = f"Cast it in the query, for example with {quoted(name)}::VARCHAR."
        raise UnsupportedFrameError(f"column {name!r}", str(dtype), cure) from None


def _is_cast(data: Any) -> bool:
    return relation_types.crossing(data) != relation_types.to_sql(data)


def _outward(name: str, data: Any) -> str:
    """Return the expression that hands a column to Arrow."""
    if not _is_cast(data):
        return quoted(name)
    return f"CAST({quoted(name)} AS {relation_types.crossing(data)}) AS {quoted(name)}"


def _inward(place: str, name: str, data: Any) -> str:
    """Return the expression that takes a column back from Arrow."""
    if data == "NULL":
        return f"NULL AS {quoted(name)}"
    return f"CAST({quoted(place)} AS {relation_types.to_sql(data)}) AS {quoted(name)}"


def _without_session(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column whose moments say UTC, whatever zone the session has."""
    target = _in_utc(column.type)
    return column if target == column.type else column.cast(target)


def _in_utc(dtype: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_timestamp(dtype) and dtype.tz is not None:
        return pa.timestamp(dtype.unit, _UTC)
    if types.is_struct(dtype):
        return pa.struct([_field_in_utc(dtype.field(i)) for i in range(dtype.num_fields)])
    if types.is_map(dtype):
        return pa.map_(_field_in_utc(dtype.key_field), _field_in_utc(dtype.item_field))
    if types.is_fixed_size_list(dtype):
        return pa.list_(_field_in_utc(dtype.value_field), dtype.list_size)
    if types.is_list(dtype):
        return pa.list_(_field_in_utc(dtype.value_field))
    return dtype


def _field_in_utc(field: Any) -> Any:
    return field.with_type(_in_utc(field.type))
