"""Arrow arrays and tables as every adapter needs them: of one piece, of some size, of zeros.

Nothing here computes, so that a hit need not load what Arrow computes with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["has_dictionary", "owned", "sized_table", "zero"]

#: The name of a column that is made to have rows, and dropped again.
_ROWS: Final = "_rows"


def owned(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of one chunk that shares no memory with another, nor with a file."""
    # Arrow writes anew whatever is joined, and an empty array makes any chunk joined.
    pieces = column.unify_dictionaries().chunks if _unifies(column.type) else column.chunks
    empty = pa.array([], column.type) if not pieces else pieces[0].slice(0, 0)
    return pa.chunked_array([pa.concat_arrays([*pieces, empty])], column.type)


def zero(dtype: pa.DataType) -> pa.Scalar:
    """Return the scalar of a type without children whose bytes are all zero, or none.

    >>> zero(pa.int8()), zero(pa.binary())
    (<pyarrow.Int8Scalar: 0>, <pyarrow.BinaryScalar: b''>)
    """
    # `pa.scalar` would import pandas, to see whether its argument comes from there.
    nothing = pa.py_buffer(bytes(32))
    fixed = pa.types.is_primitive(dtype) or pa.types.is_fixed_size_binary(dtype)
    buffers = [None, nothing] if fixed else [None, nothing, nothing]
    return pa.Array.from_buffers(dtype, 1, buffers)[0]


def sized_table(columns: Sequence[Any], row_count: int) -> pa.Table:
    """Return a table with columns named by position; it has its rows without any column."""
    if not columns:
        return pa.Table.from_arrays([pa.nulls(row_count)], names=[_ROWS]).select([])
    return pa.Table.from_arrays(list(columns), names=[str(i) for i in range(len(columns))])


def _unifies(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_dictionary(dtype) and not pa.types.is_nested(dtype.value_type))


def has_dictionary(dtype: pa.DataType) -> bool:
    """Tell whether a type is a dictionary, or holds one.

    >>> has_dictionary(pa.list_(pa.dictionary(pa.int8(), pa.string())))
    True
    """
    inside = (dtype.field(position).type for position in range(dtype.num_fields))
    return bool(pa.types.is_dictionary(dtype)) or any(map(has_dictionary, inside))
