"""Arrow tables ↔ native DuckDB tables, exactly and by position.

A DuckDB table is there to be read by people and plain SQL, so every column gets the most
natural type that DuckDB 1.5 and 2.0 both hold. What that type does not say is in the Arrow
schema, by which `from_sql` undoes `to_sql`. Nothing here needs DuckDB.

| Arrow | DuckDB |
|---|---|
| half float | FLOAT |
| dictionary | the type of its values |
| timestamp with zone, s to µs | TIMESTAMP WITH TIME ZONE (UTC) |
| timestamp with zone, ns | TIMESTAMP_NS (UTC): a zoned one would shut 1.5 out of the file |
| duration | BIGINT, a count of its unit |
| time of s, ms; date of ms | TIME; TIMESTAMP_MS |
| null | VARCHAR |
| decimal of more than 38 digits | VARCHAR |
| fixed-size binary | BLOB |
| map | a list of ``STRUCT(key, value)``: a MAP would refuse repeated keys |
| struct without fields | BOOLEAN, true where there is one |
| struct | STRUCT; fields whose names clash or say nothing are renamed |
| table without columns | one BOOLEAN column ``_rows`` |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from usher_pipeline.frames.arrays import has_dictionary, zero
from usher_pipeline.frames.naming import sql_names
from usher_pipeline.frames.views import from_views
from usher_pipeline.frames.views import size_bytes as bytes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "from_sql",
    "pieces",
    "sql_type",
    "to_sql",
    "unusual_nans",
    "with_nans",
]

#: The column that keeps the number of rows of a table without columns.
_ROWS: Final = "_rows"
#: The longest fixed-size list that is a DuckDB ARRAY; longer ones are lists.
_ARRAY_LENGTHS: Final = range(1, 100_001)
#: How much of a table is looked at at a time.
_PIECE_BYTES: Final = 1 << 25
#: The most digits of a DuckDB DECIMAL.
_DECIMAL_DIGITS: Final = 38

_UTC_US: Final = pa.timestamp("us", "UTC")
_ENTRIES: Final = ("key", "value")


# --- types ------------------------------------------------------------------------------


def sql_type(dtype: pa.DataType) -> pa.DataType:
    """Return the Arrow type under which `to_sql` hands a column to DuckDB.

    >>> sql_type(pa.timestamp("ms", "Europe/Zurich"))
    TimestampType(timestamp[us, tz=UTC])

    Raises:
        ValueError: DuckDB holds nothing from which it could be brought back.
    """
    types = pa.types
    if types.is_dictionary(dtype):
        return sql_type(dtype.value_type)
    if types.is_struct(dtype):
        return _sql_struct(dtype)
    if types.is_map(dtype):
        return pa.large_list(_sql_struct(_entry_type(dtype)))
    if types.is_fixed_size_list(dtype) and dtype.list_size in _ARRAY_LENGTHS:
        return pa.list_(sql_type(dtype.value_type), dtype.list_size)
    if types.is_fixed_size_list(dtype) and not dtype.list_size:
        # Arrow divides by the size where it makes such an array.
        raise ValueError("lists of no items at all")
    if types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype):
        return pa.large_list(sql_type(dtype.value_type))
    return _sql_leaf(dtype)


def _sql_struct(dtype: pa.StructType) -> pa.DataType:
    if not dtype.num_fields:
        return pa.bool_()
    fields = _fields(dtype)
    names = sql_names([field.name for field in fields])
    return pa.struct(
        [(name, sql_type(field.type)) for name, field in zip(names, fields, strict=True)]
    )


def _sql_leaf(dtype: pa.DataType) -> pa.DataType:  # noqa: C901, PLR0911 - one for each type
    types = pa.types
    if types.is_boolean(dtype) or types.is_integer(dtype) or types.is_date32(dtype):
        return dtype
    if types.is_floating(dtype):
        return pa.float32() if types.is_float16(dtype) else dtype
    if types.is_null(dtype) or types.is_string(dtype) or types.is_large_string(dtype):
        return pa.large_string()
    if types.is_binary(dtype) or types.is_large_binary(dtype):
        return pa.large_binary()
    if types.is_fixed_size_binary(dtype) and not types.is_decimal(dtype):
        return pa.large_binary()
    if types.is_timestamp(dtype):
        if dtype.tz is None:
            return dtype
        return pa.timestamp("ns") if dtype.unit == "ns" else _UTC_US
    if types.is_duration(dtype):
        return pa.int64()
    if types.is_time(dtype):
        return pa.time64("us") if types.is_time32(dtype) else dtype
    if types.is_date64(dtype):
        return pa.timestamp("ms")
    if types.is_decimal(dtype):
        wide = dtype.precision > _DECIMAL_DIGITS or not 0 <= dtype.scale <= dtype.precision
        return pa.large_string() if wide else pa.decimal128(dtype.precision, dtype.scale)
    raise ValueError(f"no DuckDB type holds {dtype} exactly")


def _fields(dtype: pa.StructType) -> list[pa.Field]:
    return [dtype.field(position) for position in range(dtype.num_fields)]


def _entry_type(dtype: pa.MapType) -> pa.StructType:
    """Return the type of a map's entries."""
    key, value = _ENTRIES
    return pa.struct([pa.field(key, dtype.key_type, nullable=False), (value, dtype.item_type)])


# --- to SQL -----------------------------------------------------------------------------


def to_sql(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return a table for DuckDB, every column under a type that it holds exactly.

    Args:
        table: The table of a packed frame, or of its segment.
        names: A column name each, see `sql_names`.

    Raises:
        ValueError: Some value has no exact place, such as a time beyond DuckDB's range.
    """
    if not table.num_columns:
        rows = pa.nulls(table.num_rows, pa.bool_()).is_null()
        return pa.Table.from_arrays([rows], names=[_ROWS])
    columns = [
        _each_chunk(_to_sql, column, sql_type(column.type))
        for column in from_views(table).columns
    ]
    return pa.Table.from_arrays(columns, names=list(names))


def pieces(
    table: pa.Table, passed: Callable[[], None] | None = None, size_bytes: int = _PIECE_BYTES
) -> Iterator[pa.Table]:
    """Yield a table in pieces; an empty one is one piece.

    Args:
        table: The table.
        passed: Called after each piece, when it is not needed any more.
        size_bytes: How large a piece is about.
    """
    row_bytes = bytes_of(table) // max(1, table.num_rows) + 1
    step = max(1, size_bytes // row_bytes)
    for begin in range(0, max(1, table.num_rows), step):
        yield table.slice(begin, step)
        if passed is not None:
            passed()


def _to_sql(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Return an array under its SQL type, which is `target`."""
    dtype = array.type
    types = pa.types
    if types.is_dictionary(dtype):
        return _to_sql(array.dictionary_decode(), target)
    if dtype == target and not types.is_nested(dtype):
        return array
    if types.is_struct(dtype):
        return _struct_to_sql(array, target)
    if types.is_map(dtype):
        array = array.cast(pa.list_(_entry_type(dtype)))
    if types.is_nested(dtype):
        if types.is_fixed_size_list(target):
            values = _to_sql(_slots(array), target.value_type)
            return _fixed(values, target, array)
        return _var_list(array, _to_sql(array.flatten(), target.value_type), target)
    return _leaf_to_sql(array, target)


def _struct_to_sql(array: pa.StructArray, target: pa.DataType) -> pa.Array:
    if pa.types.is_boolean(target):
        return pc.if_else(array.is_valid(), array.is_valid(), pa.nulls(len(array), target))
    children = [
        _to_sql(child, field.type)
        for child, field in zip(array.flatten(), _fields(target), strict=True)
    ]
    return pa.StructArray.from_arrays(children, fields=_fields(target), mask=_mask(array))


def _leaf_to_sql(array: pa.Array, target: pa.DataType) -> pa.Array:
    dtype = array.type
    types = pa.types
    if types.is_duration(dtype) or types.is_date64(dtype) or target == pa.timestamp("ns"):
        return array.view(target)
    stored = array.cast(target)
    if types.is_float16(dtype) and not _same_bits(stored.cast(dtype), array):
        raise ValueError("a half float would change on the way through FLOAT")
    return stored


def _same_bits(one: pa.Array, other: pa.Array) -> bool:
    equal = pc.equal(one.view(pa.int16()), other.view(pa.int16()))
    return bool(pc.all(equal, min_count=0).as_py())


# --- from SQL ---------------------------------------------------------------------------


def from_sql(table: pa.Table, schema_arrow: pa.Schema) -> pa.Table:
    """Return the table that `to_sql` was given, from what DuckDB returns for it.

    Args:
        table: What DuckDB holds, its columns in their order; the names do not matter.
        schema_arrow: The schema of the table that went in.

    Raises:
        ValueError: The table is not as `to_sql` made it: columns were added, dropped or
            given another type, or a value can not be brought back.
    """
    if not len(schema_arrow) and table.column_names == [_ROWS]:
        return table.select([])
    if table.num_columns != len(schema_arrow):
        raise ValueError(
            f"the table has {table.num_columns} columns, {len(schema_arrow)} were stored"
        )
    columns = [
        _each_chunk(_from_sql, column, field.type)
        for column, field in zip(table.columns, schema_arrow, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema_arrow)


def _from_sql(array: pa.Array, target: pa.DataType) -> pa.Array:
    """Return an array of DuckDB's under the type that it had before `to_sql`."""
    types = pa.types
    if types.is_dictionary(target):
        values = _from_sql(array, target.value_type).dictionary_encode()
        return pa.DictionaryArray.from_arrays(
            values.indices.cast(target.index_type), values.dictionary, ordered=target.ordered
        )
    if types.is_null(target):
        return _nulls(array)
    if types.is_struct(target):
        return _struct_from_sql(array, target)
    if types.is_map(target):
        return _map_from_sql(array, target)
    if types.is_nested(target):
        return _list_from_sql(array, target)
    return _leaf_from_sql(array, target)


def _nulls(array: pa.Array) -> pa.Array:
    if array.null_count < len(array):
        raise ValueError("the table holds values where there were none")
    return pa.nulls(len(array))


def _struct_from_sql(array: pa.Array, target: pa.StructType) -> pa.Array:
    if not target.num_fields:
        _expect(array, pa.types.is_boolean(array.type), target)
        # Arrow has no constructor for structs of nothing but validity. That of a joined
        # array begins at its first bit.
        bits = pa.concat_arrays([array.is_valid(), array.is_valid()[:0]]).buffers()[1]
        return pa.Array.from_buffers(target, len(array), [bits], array.null_count, children=[])
    stored = pa.types.is_struct(array.type) and array.type.num_fields == target.num_fields
    _expect(array, stored, target)
    children = [
        _from_sql(child, field.type)
        for child, field in zip(array.flatten(), _fields(target), strict=True)
    ]
    return pa.StructArray.from_arrays(children, fields=_fields(target), mask=_mask(array))


def _map_from_sql(array: pa.Array, target: pa.MapType) -> pa.Array:
    entries = _list_from_sql(array, pa.list_(_entry_type(target)))
    keys, values = entries.flatten().flatten()
    offsets = _offsets(entries, pa.int32())
    return pa.MapArray.from_arrays(offsets, keys, values, target, mask=_mask(array))


def _list_from_sql(array: pa.Array, target: pa.DataType) -> pa.Array:
    types = pa.types
    if types.is_fixed_size_list(array.type) and types.is_fixed_size_list(target):
        _expect(array, array.type.list_size == target.list_size, target)
        return _fixed(_from_sql(_slots(array), target.value_type), target, array)
    stored = types.is_list(array.type) or types.is_large_list(array.type)
    _expect(array, stored, target)
    if types.is_fixed_size_list(target):
        return _long_array(array, target)
    return _var_list(array, _from_sql(array.flatten(), target.value_type), target)


def _long_array(array: pa.Array, target: pa.FixedSizeListType) -> pa.Array:
    """Return lists as arrays that are too long for DuckDB; so there are few of them."""
    size = target.list_size
    _expect(array, not pc.any(pc.not_equal(pc.list_value_length(array), size)).as_py(), target)
    values = _from_sql(array.flatten(), target.value_type)
    gap = pa.nulls(size, target.value_type)
    pieces, start = [values.slice(0, 0)], 0
    for present in array.is_valid().to_pylist():
        pieces.append(values.slice(start, size) if present else gap)
        start += size if present else 0
    return _fixed(pa.concat_arrays(pieces), target, array)


def _leaf_from_sql(array: pa.Array, target: pa.DataType) -> pa.Array:
    types = pa.types
    stored = sql_type(target)
    if types.is_timestamp(stored) and types.is_timestamp(array.type):
        # The zone is the session's; the instant is the same in any.
        same = array.type.unit == stored.unit and bool(array.type.tz) == bool(stored.tz)
        _expect(array, same, target)
        if stored == _UTC_US:
            array = array.view(stored).cast(pa.timestamp(target.unit, "UTC"))
        return array.view(target)
    _expect(array, _family(array.type) == _family(stored), target)
    if types.is_duration(target):
        return array.view(target)
    restored = array.cast(target)
    if types.is_float16(target):
        back = restored.cast(pa.float32()).view(pa.int32())
        _expect(
            array, pc.all(pc.equal(back, array.view(pa.int32())), min_count=0).as_py(), target
        )
    return restored


def _family(dtype: pa.DataType) -> Any:
    """Return a type, the same for all that hold the same values."""
    types = pa.types
    if types.is_string(dtype) or types.is_large_string(dtype) or types.is_string_view(dtype):
        return "text"
    if types.is_binary(dtype) or types.is_large_binary(dtype) or types.is_binary_view(dtype):
        return "bytes"
    return dtype


def _expect(array: pa.Array, fits: object, target: pa.DataType) -> None:
    if not fits:
        raise ValueError(f"the table holds {array.type}, which does not become {target}")


# --- numbers that are none --------------------------------------------------------------

_INTS: Final = {pa.float64(): pa.int64(), pa.float32(): pa.int32()}
_USUAL: Final = {pa.float64(): 0x7FF8 << 48, pa.float32(): 0x7FC0 << 16}


def unusual_nans(table: pa.Table, passed: Callable[[], None] | None = None) -> dict[str, int]:
    """Return column → the bits of its NaNs, where these are alike and not the usual ones.

    A file of DuckDB 2.0 keeps the bits of a NaN only beside other values: where there is
    nothing but NaN in a piece of a column, the usual one comes back.

    Args:
        table: The table.
        passed: Called on the way, when what was read so far is not needed any more.

    >>> nan = pa.array([-1], pa.int64()).view(pa.float64())
    >>> unusual_nans(pa.table({"0": nan, "1": [1.0]}))
    {'0': -1}
    """
    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.type not in _INTS:
            continue
        kinds = {
            bits
            for piece in pieces(pa.table([column], ["_"]), passed)
            for chunk in piece.column(0).chunks
            for bits in _nan_bits(chunk)
        }
        if len(kinds) == 1 and kinds != {_USUAL[column.type]}:
            found[name] = kinds.pop()
    return found


def _nan_bits(chunk: pa.Array) -> list[int]:
    mask = pc.is_nan(chunk)
    if not pc.any(mask, min_count=0).as_py():
        return []
    ints: list[int] = chunk.view(_INTS[chunk.type]).filter(mask).unique().to_pylist()
    return ints


def with_nans(table: pa.Table, nans: Mapping[str, int]) -> pa.Table:
    """Return a table whose NaNs have the bits that `unusual_nans` found.

    Args:
        table: The table, from DuckDB.
        nans: Column → bits.

    Raises:
        ValueError: They are no bits for such a column.
    """
    for name, bits in nans.items():
        position = table.schema.get_field_index(name)
        if position < 0 or table.schema.types[position] not in _INTS:
            raise ValueError(f"there is no column {name!r} of numbers")
        kind = table.schema.types[position]
        chunks = [_replaced(chunk, bits) for chunk in table.column(position).chunks]
        table = table.set_column(position, name, pa.chunked_array(chunks, kind))
    return table


def _replaced(chunk: pa.Array, bits: int) -> pa.Array:
    kind = _INTS[chunk.type]
    mask = pc.fill_null(pc.is_nan(chunk), zero(pa.bool_()))
    nan = pa.array([bits], kind)[0]
    return pc.if_else(mask, nan, chunk.view(kind)).view(chunk.type)


# --- arrays -----------------------------------------------------------------------------


def _each_chunk(convert: Any, column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    """Return a column with each chunk converted; the type that comes out is the first's."""
    chunks = column.chunks or [pa.nulls(0, column.type)]
    if has_dictionary(target) and len(chunks) > 1:
        # A file has one dictionary for a column, and each chunk would get its own.
        chunks = [pa.concat_arrays(chunks)]
    try:
        return pa.chunked_array([convert(chunk, target) for chunk in chunks])
    except pa.ArrowException as problem:
        raise ValueError(f"{column.type} does not become {target}: {problem}") from problem


def _mask(array: pa.Array) -> pa.Array | None:
    return array.is_null() if array.null_count else None


def _slots(array: pa.FixedSizeListArray) -> pa.Array:
    """Return the values of fixed-size lists, those under nulls too."""
    size = array.type.list_size
    return array.values.slice(array.offset * size, len(array) * size)


def _fixed(values: pa.Array, target: pa.FixedSizeListType, like: pa.Array) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(values, type=target, mask=_mask(like))


def _var_list(array: pa.Array, values: pa.Array, target: pa.DataType) -> pa.Array:
    """Return lists of new values, as long as those of `array`."""
    large = pa.types.is_large_list(target)
    offsets = _offsets(array, pa.int64() if large else pa.int32())
    make = pa.LargeListArray if large else pa.ListArray
    return make.from_arrays(offsets, values, type=target, mask=_mask(array))


def _offsets(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Return where each list starts in the flattened values; a null takes no place."""
    lengths = pc.list_value_length(array)
    ends = pc.cumulative_sum(lengths.fill_null(zero(lengths.type)).cast(pa.int64()))
    start = pa.Array.from_buffers(pa.int64(), 1, [None, pa.py_buffer(bytes(8))])
    return pa.concat_arrays([start, ends]).cast(dtype)
