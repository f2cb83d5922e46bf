"""Text as polars has it in memory: a view of 16 bytes for each value, and the bytes aside.

A segment of a polars frame holds text in this layout, so that mapping it is all that is
left to do; from the other layout, in which an offset tells where each value ends, polars
would make its views at every hit. Everywhere else text has offsets: what a frame is, how
it is digested and what its table gets do not depend on the layout.

The format of the views is that of the Arrow columnar format, version 1.4:
https://arrow.apache.org/docs/format/Columnar.html#variable-size-binary-view-layout
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa

from usher_pipeline.workers import side_by_side

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["from_views", "plain_schema", "plain_type", "size_bytes", "to_views", "view_schema"]

_VIEWS: Final = {
    pa.large_string(): pa.string_view(),
    pa.large_binary(): pa.binary_view(),
}
_PLAIN: Final = {view: plain for plain, view in _VIEWS.items()}

#: A view tells by 32 bits where its bytes are; a column of a batch has no more than this.
_MOST_BYTES: Final = 1 << 30
#: Arrow gives a large offset eight bytes.
_OFFSET_BYTES: Final = 8


def plain_type(dtype: pa.DataType) -> pa.DataType:
    """Return a type with offsets in place of views.

    >>> plain_type(pa.string_view()), plain_type(pa.int8())
    (DataType(large_string), DataType(int8))
    """
    return _PLAIN.get(dtype, dtype)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema with offsets in place of views."""
    return pa.schema([field.with_type(plain_type(field.type)) for field in schema])


def view_schema(schema: pa.Schema) -> pa.Schema:
    """Return a schema with views in place of offsets; text inside lists stays as it is."""
    fields = [field.with_type(_VIEWS.get(field.type, field.type)) for field in schema]
    return pa.schema(fields)


def to_views(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a batch with views in place of offsets.

    The views share no bytes with what was cut off from the batch: all that they lead to
    would be written with them.

    Args:
        batch: Rows. Those that have too much text for 32 bits come in several batches.

    >>> batch = pa.record_batch([pa.array(["USH2A"], pa.large_string())], ["gene"])
    >>> [each.schema.types for each in to_views(batch)]
    [[DataType(string_view)]]

    Raises:
        pyarrow.ArrowCapacityError: A single value has more than 2 GB.
    """
    texts = [column for column in batch.columns if column.type in _VIEWS]
    if len(batch) > 1 and any(_text_bytes(column) > _MOST_BYTES for column in texts):
        half = len(batch) // 2
        yield from to_views(batch.slice(0, half))
        yield from to_views(batch.slice(half))
        return
    if texts:
        columns = [_viewed(column) for column in batch.columns]
        batch = pa.RecordBatch.from_arrays(columns, schema=view_schema(batch.schema))
    yield batch


def _text_bytes(array: pa.Array) -> int:
    """Return how many bytes the values of an array of text take together."""
    offsets = array.buffers()[1]
    if not len(array) or offsets is None:
        return 0
    first, last = (
        int.from_bytes(offsets.slice(place * _OFFSET_BYTES, _OFFSET_BYTES), "little")
        for place in (array.offset, array.offset + len(array))
    )
    return last - first


def _viewed(array: pa.Array) -> pa.Array:
    if array.type not in _VIEWS:
        return array
    data = array.buffers()[2]
    if array.offset or (data is not None and data.size > _text_bytes(array)):
        # Arrow writes anew whatever is joined.
        array = pa.concat_arrays([array, array.slice(0, 0)])
    return array.cast(_VIEWS[array.type])


def from_views(table: pa.Table) -> pa.Table:
    """Return a table with offsets in place of views; one without views is returned as it is.

    >>> table = pa.table({"gene": pa.array(["USH2A"]).cast(pa.string_view())})
    >>> from_views(table).schema.types
    [DataType(large_string)]
    """
    if not any(dtype in _PLAIN for dtype in table.schema.types):
        return table
    columns = side_by_side(_plain, table.columns, table.num_rows)
    return pa.Table.from_arrays(columns, schema=plain_schema(table.schema))


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(plain_type(column.type)) if column.type in _PLAIN else column


def size_bytes(table: pa.Table) -> int:
    """Return how much the values of a table take; of views, with all that they lead to."""
    return sum(
        sum(chunk.get_total_buffer_size() for chunk in column.chunks)
        if column.type in _PLAIN
        else column.nbytes
        for column in table.columns
    )
