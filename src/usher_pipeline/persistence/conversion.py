"""A stored table → a frame of the library that is asked for, whichever it was saved from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from usher_pipeline.frames import Packed, adapter_of_kind, row_index
from usher_pipeline.frames.arrays import has_dictionary
from usher_pipeline.frames.table_schema import sql_type, to_sql
from usher_pipeline.frames.views import from_views
from usher_pipeline.persistence.tables import natural, restore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from usher_pipeline.persistence.tables import Stored

__all__ = ["as_kind", "in_form", "stacked"]


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
    try:
        return in_form(kind, Packed(table, schema, saved))
    except ValueError:
        # Values were written with SQL that the frame could not have held.
        return natural(kind, stored.table)


def in_form(kind: str, packed: Packed) -> Any:
    """Return a packed frame as one of another kind, or of its own.

    Args:
        kind: The kind that is wanted.
        packed: The frame.

    Returns:
        In its own library just the frame that was packed. In another one the most natural
        frame that keeps durations, categories and time zones; an index without a name is
        left out there.

    Raises:
        ValueError: The table does not fit the schema.
    """
    adapter = adapter_of_kind(packed.kind)
    if packed.kind == kind:
        return adapter.from_arrow(packed.table, packed.schema)
    if adapter.tabular and adapter.tabular == adapter_of_kind(kind).tabular:
        # A series, or a query: the frame of its library has the same schema.
        return adapter_of_kind(kind).from_arrow(packed.table, {**packed.schema, "kind": kind})
    packed = replace(packed, table=from_views(packed.table))
    if any(has_dictionary(field.type) for field in packed.table.schema):
        # What is stored has the words that occur; the frame knows all, and their order.
        packed = adapter.to_arrow(adapter.from_arrow(packed.table, packed.schema))
    return natural(kind, _meaningful(packed))


def _meaningful(packed: Packed) -> pa.Table:
    """Return a table with the column that says more, of those in SQL and those exact."""
    table, schema = packed.table, packed.schema
    gone = set(row_index.unnamed(schema)) if len(schema["dtypes"]) else set()
    kept = [position for position in range(table.num_columns) if position not in gone]
    if not table.num_columns:
        return table
    columns = [_column(table.column(position)) for position in kept]
    return pa.Table.from_arrays(columns, _names(schema, kept))


def _names(schema: Mapping[str, Any], positions: Sequence[int]) -> list[str]:
    """Return the labels of some columns where they are texts, else their names in SQL."""
    labels = schema["labels"]
    is_plain = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
    names = labels if is_plain and len(labels) > max(positions, default=0) else None
    return [(names or schema["sql_names"])[position] for position in positions]


def _column(exact: pa.ChunkedArray) -> pa.ChunkedArray:
    types, kind = pa.types, exact.type
    is_word = types.is_dictionary(kind) and (
        types.is_large_string(kind.value_type) or types.is_string(kind.value_type)
    )
    if types.is_timestamp(kind) and (kind.tz or "").startswith(("+", "-")):
        # Not every library knows a zone that has no name.
        return exact.cast(pa.timestamp(kind.unit, "UTC"))
    if is_word:
        return _signed(exact)
    if types.is_duration(kind) or types.is_timestamp(kind) or sql_type(kind) == kind:
        return exact
    return to_sql(pa.table([exact], ["_"]), ["_"]).column(0)


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


def stacked(parts: Sequence[Packed]) -> pl.LazyFrame:
    """Return packed frames as one query of polars, one below the other.

    Args:
        parts: The frames; a query without columns if there are none.
    """
    import polars as pl

    frames = [in_form("polars.LazyFrame", packed) for packed in parts]
    return pl.concat(frames) if frames else pl.LazyFrame()
