"""Arrow tables ↔ Arrow: the exact schema beside columns of types that can be stored.

The schema is kept whole, with metadata, names and nullability. How a table is cut into
chunks, and in which order a dictionary lists its values, is layout and not content; where
a dictionary is ordered, its order is content and kept.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pyarrow as pa
import pyarrow.compute as pc

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames.arrays import has_dictionary, owned, sized_table
from usher_pipeline.frames.contract import SCHEMA_FORMAT, Packed, plain_only
from usher_pipeline.frames.naming import sql_names
from usher_pipeline.frames.table_schema import sql_type

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ADAPTER", "ArrowTableAdapter"]

_CURE: Final = "Cast the column to another type, or drop it."


class ArrowTableAdapter:
    """The verbs for `pyarrow.Table`."""

    kind: ClassVar[str] = "pyarrow.Table"
    tabular: ClassVar[str] = kind
    is_lazy: ClassVar[bool] = False

    def owns(self, value: object) -> bool:
        """Return whether `value` is an Arrow table."""
        return isinstance(value, pa.Table)

    def collect(self, frame: pa.Table) -> pa.Table:
        """Return the table itself; its values are at hand."""
        return frame

    def to_arrow(self, frame: pa.Table) -> Packed:
        """Return the table under types that can be stored, and its schema.

        Raises:
            UnsupportedFrameError: Something in it could not be restored exactly.
        """
        plain_only(frame, pa.Table, "pyarrow.Table")
        _require_whole(frame)
        names = frame.column_names
        columns, orders = [], []
        for name, column in zip(names, frame.columns, strict=True):
            stored = _stored(name, column)
            columns.append(stored)
            orders.append(_order(name, stored))
        schema = {
            "kind": self.kind,
            "format": SCHEMA_FORMAT,
            "rows": frame.num_rows,
            "labels": names,
            "dtypes": [str(field.type) for field in frame.schema],
            "orders": orders,
            "table_schema": base64.b64encode(frame.schema.serialize().to_pybytes()).decode(),
            "sql_names": sql_names(names),
        }
        return Packed(sized_table(columns, frame.num_rows), schema, self.kind)

    def from_arrow(
        self, table: pa.Table, schema: Mapping[str, Any], *, copy: bool = False
    ) -> pa.Table:
        """Return exactly the table that `to_arrow` packed.

        Args:
            table: Its table.
            schema: Its schema, which may have gone through JSON.
            copy: Whether the table must own its memory.

        Raises:
            ValueError: The schema is of another kind or format, or does not fit the table.
        """
        if (schema.get("kind"), schema.get("format")) != (self.kind, SCHEMA_FORMAT):
            raise ValueError(f"the schema is of no {self.kind}, format {SCHEMA_FORMAT}")
        exact = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(schema["table_schema"])))
        if len(exact) != table.num_columns:
            raise ValueError(
                f"the schema has {len(exact)} columns, the table {table.num_columns}"
            )
        columns = [
            _restored(owned(column) if copy else column, field.type, order)
            for column, field, order in zip(table.columns, exact, schema["orders"], strict=True)
        ]
        if not columns:
            return _without_columns(schema["rows"], exact)
        return pa.Table.from_arrays(columns, schema=exact)

    def from_plain(self, table: pa.Table) -> pa.Table:
        """Return the table itself."""
        return table

    def holding(self, described: Any, column: pa.ChunkedArray) -> Any:
        """Return the type of a column once more values were added to it, as plain data.

        Raises:
            ValueError: The values are of another type.
        """
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if str(kind) not in str(described):
            raise ValueError(f"a column of {described} does not hold values of {kind}")
        return described

    def describe(self, frame: pa.Table) -> tuple[tuple[str, str], ...]:
        """Return name and type of each column, as text."""
        return tuple((field.name, str(field.type)) for field in frame.schema)

    def shape(self, frame: pa.Table) -> tuple[int, int]:
        """Return the numbers of rows and of columns."""
        return frame.num_rows, frame.num_columns


ADAPTER: Final = ArrowTableAdapter()


def _without_columns(row_count: int, exact: pa.Schema) -> pa.Table:
    """Return a table of no columns that still counts its rows."""
    field = pa.schema([("_", pa.null())], metadata=exact.metadata)
    return pa.Table.from_arrays([pa.nulls(row_count)], schema=field).select([])


# --- types ------------------------------------------------------------------------------


def _stored_type(dtype: pa.DataType) -> pa.DataType:
    """Return the type that a column is stored under; the same one for most.

    Raises:
        ValueError: There is none from which it comes back.
    """
    types = pa.types
    if isinstance(dtype, pa.BaseExtensionType):
        return _stored_type(dtype.storage_type)
    if types.is_string_view(dtype):
        return pa.large_string()
    if types.is_binary_view(dtype):
        return pa.large_binary()
    if types.is_dictionary(dtype):
        value = _stored_type(dtype.value_type)
        is_plain = not (types.is_nested(value) or types.is_dictionary(value))
        if value != dtype.value_type or not is_plain:
            raise ValueError(f"a dictionary of {dtype.value_type} is not restored")
        return dtype
    if types.is_nested(dtype) or _is_list_view(dtype):
        return _stored_nested(dtype)
    sql_type(dtype)
    return dtype


def _stored_nested(dtype: pa.DataType) -> pa.DataType:
    types = pa.types
    if types.is_struct(dtype):
        fields = [dtype.field(position) for position in range(dtype.num_fields)]
        return pa.struct([field.with_type(_stored_inner(field.type)) for field in fields])
    if types.is_map(dtype):
        key, item = dtype.key_field, dtype.item_field
        parts = (part.with_type(_stored_inner(part.type)) for part in (key, item))
        return pa.map_(*parts, keys_sorted=dtype.keys_sorted)
    if types.is_fixed_size_list(dtype) or types.is_list(dtype) or types.is_large_list(dtype):
        field = dtype.value_field
        inner = field.with_type(_stored_inner(field.type))
        if types.is_fixed_size_list(dtype):
            return pa.list_(inner, dtype.list_size)
        return pa.large_list(inner) if types.is_large_list(dtype) else pa.list_(inner)
    raise ValueError(f"{dtype} has no columns of DuckDB")


def _stored_inner(dtype: pa.DataType) -> pa.DataType:
    """Return the stored type of what is inside another; there nothing is converted."""
    stored = _stored_type(dtype)
    if pa.types.is_dictionary(dtype) and dtype.ordered:
        raise ValueError("an ordered dictionary inside another type is not restored")
    if stored != dtype:
        raise ValueError(f"{dtype} inside another type is not restored")
    return stored


def _is_list_view(dtype: pa.DataType) -> bool:
    # The oldest supported pyarrow tells of no such type.
    tests = ("is_list_view", "is_large_list_view", "is_union", "is_run_end_encoded")
    return any(getattr(pa.types, test, bool)(dtype) for test in tests)


# --- columns ----------------------------------------------------------------------------


def _require_whole(frame: pa.Table) -> None:
    """Refuse a table that Arrow itself does not take for one, or whose schema changes.

    Text that is not Unicode, offsets that point nowhere, and types that nobody registered
    are found so.
    """
    try:
        frame.validate(full=True)
    except pa.ArrowException as problem:
        cure = "Make the table anew from valid values."
        raise UnsupportedFrameError("the table", f"not valid: {problem}", cure) from None
    kept = pa.ipc.read_schema(pa.py_buffer(frame.schema.serialize().to_pybytes()))
    for field, other in zip(frame.schema, kept, strict=True):
        if not field.equals(other, check_metadata=True):
            cure = "Register the type with pyarrow, or cast the column to another one."
            raise UnsupportedFrameError(f"column {field.name!r}", str(field.type), cure)


def _stored(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return _as_stored(column, _stored_type(column.type))
    except (ValueError, pa.ArrowException) as problem:
        described = f"{column.type} ({problem})"
        raise UnsupportedFrameError(f"column {name!r}", described, _CURE) from None


def _as_stored(column: pa.ChunkedArray, stored: pa.DataType) -> pa.ChunkedArray:
    dtype = column.type
    if isinstance(dtype, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in column.chunks]
        column = pa.chunked_array(chunks, dtype.storage_type)
    if has_dictionary(stored) and column.num_chunks > 1:
        # A file has one dictionary for a column.
        column = pa.chunked_array([pa.concat_arrays(column.chunks)])
    return column if column.type == stored else column.cast(stored)


def _order(name: str, column: pa.ChunkedArray) -> list[Any] | None:
    """Return the values of an ordered dictionary in their order."""
    dtype = column.type
    if not (pa.types.is_dictionary(dtype) and dtype.ordered):
        return None
    value = dtype.value_type
    if not (pa.types.is_integer(value) or _is_text(value)):
        raise UnsupportedFrameError(f"column {name!r}", f"an ordered {dtype}", _CURE)
    return list(column.chunk(0).dictionary.to_pylist()) if column.num_chunks else []


def _is_text(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_string(dtype) or pa.types.is_large_string(dtype))


def _restored(
    column: pa.ChunkedArray, dtype: pa.DataType, order: list[Any] | None
) -> pa.ChunkedArray:
    if isinstance(dtype, pa.BaseExtensionType):
        stored = _restored(column, dtype.storage_type, None)
        chunks = [pa.ExtensionArray.from_storage(dtype, chunk) for chunk in stored.chunks]
        return pa.chunked_array(chunks, dtype)
    if order is not None:
        return _in_order(column, dtype, order)
    return column if column.type == dtype else column.cast(dtype)


def _in_order(
    column: pa.ChunkedArray, dtype: pa.DictionaryType, order: list[Any]
) -> pa.ChunkedArray:
    """Return a column whose dictionary lists its values in the order that they had."""
    values = pa.array(order, dtype.value_type)
    chunks = []
    for chunk in column.chunks:
        places = pc.index_in(chunk.dictionary, value_set=values)
        if places.null_count:
            raise ValueError("the column holds values that its dictionary does not order")
        indices = places.take(chunk.indices).cast(dtype.index_type)
        chunks.append(pa.DictionaryArray.from_arrays(indices, values, ordered=True))
    return pa.chunked_array(chunks, dtype)
