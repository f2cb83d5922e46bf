"""A stored table → a frame of the library that is asked for, whichever it was saved from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from usher_pipeline.frames import adapter_of_kind, row_index
from usher_pipeline.persistence.tables import natural, restore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from usher_pipeline.persistence.tables import Stored

__all__ = ["as_kind"]


def as_kind(kind: str, stored: Stored) -> Any:
    """Return a stored table as a frame of a kind.

    The frame that was saved comes back exactly in its own library. In the other one it
    keeps what SQL does not hold: durations, categories, time zones; an index without a name
    is left out there.
    """
    found = restore(stored)
    if found is None:
        return natural(kind, stored.table)
    saved, schema, table = found
    adapter = adapter_of_kind(saved)
    try:
        frame = adapter.from_arrow(table, schema)
    except ValueError:
        # Values were written with SQL that the frame could not have held.
        return natural(kind, stored.table)
    if saved == kind:
        return frame
    if adapter.tabular == kind:
        # A series, or a query: the frame of its library has the same schema.
        return adapter_of_kind(kind).from_arrow(table, {**schema, "kind": kind})
    return natural(kind, _meaningful(stored.table, adapter.to_arrow(frame).table, schema))


def _meaningful(plain: pa.Table, exact: pa.Table, schema: Mapping[str, Any]) -> pa.Table:
    """Return a table with the column that says more, of those in SQL and those exact."""
    gone = set(row_index.unnamed(schema)) if len(schema["dtypes"]) else set()
    kept = [position for position in range(exact.num_columns) if position not in gone]
    if not exact.num_columns:
        return exact
    columns = [_column(plain.column(position), exact.column(position)) for position in kept]
    return pa.Table.from_arrays(columns, [schema["sql_names"][position] for position in kept])


def _column(plain: pa.ChunkedArray, exact: pa.ChunkedArray) -> pa.ChunkedArray:
    types, kind = pa.types, exact.type
    is_word = types.is_dictionary(kind) and (
        types.is_large_string(kind.value_type) or types.is_string(kind.value_type)
    )
    if types.is_timestamp(kind) and (kind.tz or "").startswith(("+", "-")):
        # Not every library knows a zone that has no name.
        return exact.cast(pa.timestamp(kind.unit, "UTC"))
    if is_word:
        return _signed(exact)
    return exact if types.is_duration(kind) or types.is_timestamp(kind) else plain


def _signed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a dictionary column with indices that every pyarrow can hand to pandas."""
    kind = column.type
    chunks = [
        pa.DictionaryArray.from_arrays(
            chunk.indices.cast(pa.int32()), chunk.dictionary, ordered=kind.ordered
        )
        for chunk in column.chunks
    ]
    return pa.chunked_array(chunks, pa.dictionary(pa.int32(), kind.value_type, kind.ordered))
