"""Rows → a table that is there, so that the frame it was made from keeps its types.

DuckDB's types alone do not say what a column means: a duration is a count, a category a
text. So rows are first brought to the exact types of the table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from usher_pipeline.errors import SchemaMismatchError
from usher_pipeline.frames import adapter_of_kind, arrays, row_index, table_schema
from usher_pipeline.persistence.entries import schema_from_text, schema_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from usher_pipeline.frames import Packed

__all__ = ["Fitted", "exact", "fitted"]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Rows as they are added to a table.

    Attributes:
        table: The rows, under SQL names and types.
        dropped: Columns of the table that go: those of an index that does not go on.
        frame: What is known of the whole frame, but for the number of its rows.
        index: The index of the rows, as plain data.
        empty: Columns of which the rows hold nothing, and say no type.
    """

    table: pa.Table
    dropped: Sequence[str] = ()
    frame: Mapping[str, Any] = field(default_factory=dict)
    index: Mapping[str, Any] = field(default_factory=dict)
    empty: frozenset[str] = frozenset()

    def frame_of(self, row_count: int) -> Mapping[str, Any]:
        """Return what is needed to restore the whole frame, which has so many rows."""
        if not self.frame:
            return {}
        schema = {**self.frame["schema"], "rows": row_count}
        if "index" in schema:
            schema["index"] = row_index.after_append(schema["index"], self.index, row_count)
        return {**self.frame, "schema": schema}


def fitted(frame: Mapping[str, Any], packed: Packed, columns: Collection[str]) -> Fitted:
    """Return the rows of a frame with those columns that go into a table.

    An index without a name goes on where both have one of the same type; else it is given
    up, and never becomes a column.

    Args:
        frame: What is known of the frame that the table was made from.
        packed: The frame that is added.
        columns: The columns of the table in SQL.
    """
    names: list[str] = list(packed.schema["sql_names"])
    if list(columns) != _sql_columns(frame):
        # Somebody else made the table, or changed it; nothing exact is known of it.
        frame = {}
    of_table, of_rows = _unnamed(frame), _unnamed(_facts(packed))
    dropped = [] if of_table == of_rows else list(of_table)
    gone = {name for name in of_rows if name not in columns or name in dropped}
    if dropped or (gone and frame):
        frame = _without_index(frame)
    kept = [position for position, name in enumerate(names) if name not in gone]
    arrow = packed.table.select(kept)
    rows = table_schema.to_sql(arrow, [names[position] for position in kept])
    empty = frozenset(
        name
        for name, each in zip(rows.column_names, arrow.schema, strict=False)
        if pa.types.is_null(each.type)
    )
    return Fitted(rows, dropped, frame, packed.schema.get("index", {}), empty)


def _facts(packed: Packed) -> dict[str, Any]:
    return {"schema": packed.schema, "arrow_schema": schema_text(packed.table.schema)}


def _sql_columns(frame: Mapping[str, Any]) -> list[str]:
    """Return the columns of the table that a frame was made to."""
    if not frame:
        return []
    names: list[str] = list(frame["schema"]["sql_names"])
    return names or table_schema.to_sql(arrays.sized_table([], 0), []).column_names


def _unnamed(frame: Mapping[str, Any]) -> dict[str, pa.DataType]:
    """Return the columns of an index without a name, with their types."""
    if not frame:
        return {}
    arrow = schema_from_text(frame["arrow_schema"])
    names = frame["schema"]["sql_names"]
    return {
        names[position]: arrow.field(position).type
        for position in row_index.unnamed(frame["schema"])
    }


def _without_index(frame: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a frame whose unnamed index is given up."""
    schema = frame["schema"]
    gone = set(row_index.unnamed(schema))
    arrow = schema_from_text(frame["arrow_schema"])
    kept = [position for position in range(len(arrow)) if position not in gone]
    index = row_index.plain(schema["rows"])
    first = len(schema["dtypes"])
    levels = [position for position in kept if position >= first]
    if levels:
        index = row_index.of_levels(schema["index"], [position - first for position in levels])
    names = [schema["sql_names"][position] for position in kept]
    fields = [arrow.field(position).with_name(str(i)) for i, position in enumerate(kept)]
    return {
        **frame,
        "schema": {**schema, "index": index, "sql_names": names},
        "arrow_schema": schema_text(pa.schema(fields)),
    }


def _described(schema: Mapping[str, Any]) -> list[Any]:
    """Return the types of all columns, those of an index last."""
    return [*schema["dtypes"], *schema.get("index", {}).get("dtypes", ())]


def exact(name: str, rows: Fitted, packed: Packed) -> Fitted:
    """Return rows brought to the exact types of the table that they go into.

    Args:
        name: The table.
        rows: The rows; their columns are those of the table.
        packed: The frame that they are of.

    Raises:
        SchemaMismatchError: A value means something else, or would change.
    """
    frame = rows.frame
    if not frame or not frame["schema"]["sql_names"]:
        return rows
    schema = frame["schema"]
    arrow = schema_from_text(frame["arrow_schema"])
    places = {each: position for position, each in enumerate(packed.schema["sql_names"])}
    came = _described(packed.schema)
    adapter = adapter_of_kind(frame["kind"])
    columns, types, fields = [], [], []
    for position, (column_name, described) in enumerate(
        zip(schema["sql_names"], _described(schema), strict=True)
    ):
        place = places[column_name]
        column, target = packed.table.column(place), arrow.field(position)
        try:
            _require_same_meaning(described, came[place], column.type)
            column = _cast(column, target.type)
            kind = adapter.holding(described, column)
        except ValueError as problem:
            expected, got = f"{column_name} {target.type}", f"{column_name} {column.type}"
            raise SchemaMismatchError(name, [expected], [f"{got}: {problem}"]) from problem
        if kind != described:
            target = target.with_type(_widened(column.type))
        columns.append(column)
        types.append(kind)
        fields.append(target)
    first = len(schema["dtypes"])
    new: dict[str, Any] = {**schema, "dtypes": types[:first]}
    if types[first:]:
        new["index"] = {**schema["index"], "dtypes": types[first:]}
    facts = {**frame, "schema": new, "arrow_schema": schema_text(pa.schema(fields))}
    table = arrays.sized_table(columns, packed.table.num_rows)
    return replace(rows, table=table_schema.to_sql(table, schema["sql_names"]), frame=facts)


def _widened(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column that now has more categories, or others than none."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(pa.int32(), kind.value_type, ordered=kind.ordered)
    return kind


# --- meaning ----------------------------------------------------------------------------


def _require_same_meaning(known: Any, came: Any, kind: pa.DataType) -> None:
    """Refuse what only looks alike in Arrow: periods and intervals beside numbers."""
    if known != came and not pa.types.is_null(kind) and (_is_coded(known) or _is_coded(came)):
        raise ValueError("it means something else")


def _is_coded(described: Any) -> bool:
    if isinstance(described, dict) and not described.keys().isdisjoint(("period", "interval")):
        return True
    # Wide integers of polars are kept as text.
    return "Int128" in json.dumps(described)


def _cast(column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    """Return a column under another Arrow type, each value the same.

    Raises:
        ValueError: A value would change, or mean something else.
    """
    kind = column.type
    if kind == target or pa.types.is_null(target):
        return column
    if pa.types.is_null(kind):
        return pa.chunked_array([pa.nulls(len(column), target)])
    if not _alike(kind, target):
        raise ValueError("it means something else")
    if pa.types.is_dictionary(kind):
        chunks = [chunk.dictionary_decode() for chunk in column.chunks]
        return _cast(pa.chunked_array(chunks, kind.value_type), target)
    if pa.types.is_dictionary(target):
        return _cast(column, target.value_type).dictionary_encode()
    try:
        return column.cast(target)
    except pa.ArrowException as problem:
        raise ValueError(f"not every value fits ({problem})") from problem


def _alike(kind: pa.DataType, target: pa.DataType) -> bool:
    """Tell whether values of a type mean the same under another one."""
    types = pa.types
    kind, target = (
        each.value_type if types.is_dictionary(each) else each for each in (kind, target)
    )
    if types.is_null(kind) or types.is_null(target):
        return True
    if types.is_struct(kind) and types.is_struct(target):
        pairs = [list(each) for each in (kind, target)]
        return [each.name for each in pairs[0]] == [each.name for each in pairs[1]] and all(
            _alike(one.type, other.type) for one, other in zip(*pairs, strict=True)
        )
    if types.is_map(kind) or types.is_map(target):
        return bool(kind == target)
    if _is_list(kind) and _is_list(target):
        return _alike(kind.value_type, target.value_type)
    return bool(_family(kind) == _family(target))


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    )


def _family(kind: pa.DataType) -> Any:
    types = pa.types
    if types.is_float16(kind):
        return kind
    if types.is_integer(kind) or types.is_floating(kind):
        return "number"
    if types.is_timestamp(kind):
        return "moment in a zone" if kind.tz else "moment"
    for name, of_family in (
        ("duration", types.is_duration),
        ("time", types.is_time),
        ("decimal", types.is_decimal),
        ("text", lambda each: types.is_string(each) or types.is_large_string(each)),
        ("bytes", lambda each: types.is_binary(each) or types.is_large_binary(each)),
    ):
        if of_family(kind):
            return name
    return kind
