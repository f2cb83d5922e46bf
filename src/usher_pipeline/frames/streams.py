"""Frames that come one after another → one frame, without holding them all.

A query gives its rows in parts, and a generator yields frames. Each part is packed as a
frame of its own; together they are the frame that one gets by putting them one below the
other, and only what is told apart by rows may differ between them. A column of which a part
has no value says nothing of its type, and takes that of the parts before, where this is asked
for.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames import row_index
from usher_pipeline.frames.arrays import has_dictionary, owned, sized_table
from usher_pipeline.frames.contract import Packed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from usher_pipeline.frames.contract import Adapter

__all__ = ["Growing", "appended", "as_table", "coalesced", "taken"]

#: Parts of fewer rows and bytes than these are put together before they are written.
_ROWS: Final = 1 << 20
_SIZE_BYTES: Final = 1 << 25
_MOST_SMALL: Final = 1 << 10

_STATE_IT: Final = "State its type in the first frame, as in pl.DataFrame(..., schema={...})."
_CURE: Final = "Give every frame the same columns of the same types, or return one frame."


class Growing:
    """One frame whose rows come in parts.

    Args:
        adapter: That of the parts.
        kind: The kind of the whole; that of the parts unless given.
        tell_parts: Whether errors say which part it was, since somebody yielded them.
        takes_types: Whether a column without values takes the type of the parts before.

    Attributes:
        described: Label and type of each column.
        last: The part that came last, if somebody yielded it.
    """

    def __init__(
        self,
        adapter: Adapter,
        kind: str = "",
        *,
        tell_parts: bool = True,
        takes_types: bool = False,
    ) -> None:
        self.adapter = adapter
        self.kind = kind or adapter.kind
        self.described: tuple[tuple[str, str], ...] = ()
        self.last: tuple[Any, ...] = ()
        self._tell_parts = tell_parts
        self._takes_types = takes_types
        self._count = 0
        self._row_count = 0
        self._schema: dict[str, Any] = {}
        self._arrow_schema: pa.Schema | None = None
        self._words: dict[int, _Words] = {}

    @property
    def count(self) -> int:
        """How many parts came so far, with one that was refused."""
        return self._count

    @property
    def schema(self) -> dict[str, Any]:
        """The schema of the whole, as plain data."""
        return {**self._schema, "kind": self.kind, "rows": self._row_count}

    @property
    def arrow_schema(self) -> pa.Schema:
        """The columns of the whole, as they are written.

        Raises:
            ValueError: No part came yet.
        """
        if self._arrow_schema is None:
            raise ValueError("there is no part yet that would say which columns there are")
        return self._arrow_schema

    def add(self, frame: Any) -> pa.Table:
        """Take the next part; return its rows as they are to be written.

        Args:
            frame: The part, with its values at hand.

        Raises:
            UnsupportedFrameError: It can not be stored exactly, or is not like the others.
        """
        self._count += 1
        if self._tell_parts:
            self.last = (frame,)
        try:
            packed = self.adapter.to_arrow(frame)
        except UnsupportedFrameError as problem:
            raise self._unsupported(problem.column, problem.type_name, problem.cure) from None
        if self._takes_types and self._count > 1:
            packed = _typed(packed, self._schema, self.arrow_schema)
        if self._count == 1:
            self._begin(packed)
            self.described = self.adapter.describe(frame)
        else:
            self._require_alike(packed)
        self._row_count += packed.table.num_rows
        if "index" in self._schema and self._count > 1:
            self._schema["index"] = row_index.after_append(
                self._schema["index"], packed.schema["index"], self._row_count
            )
        # Whoever yields a frame may fill its memory with the next one, while this one waits.
        columns = [
            self._encoded(position, packed) if position in self._words else owned(column)
            for position, column in enumerate(packed.table.columns)
        ]
        if not columns:
            return packed.table
        return pa.Table.from_arrays(columns, schema=packed.table.schema)

    def _encoded(self, position: int, packed: Packed) -> pa.ChunkedArray:
        column = packed.table.column(position)
        try:
            return self._words[position].encoded(column)
        except pa.ArrowInvalid:
            # Together they have more words than its places are numbers for.
            name, cure = packed.schema["sql_names"][position], "Cast it to text."
            what = f"{column.type}, which is too small for the words of all frames"
            raise self._unsupported(f"column {name!r}", what, cure) from None

    def refused(self, frame: Any, type_name: str) -> UnsupportedFrameError:
        """Count a part that is of another kind; return the error that says so.

        Args:
            frame: The part.
            type_name: Its type.
        """
        self._count += 1
        self.last = (frame,)
        cure = f"Yield frames of one kind, here {self.adapter.kind}."
        return UnsupportedFrameError(f"frame {self._count}", type_name, cure)

    def _begin(self, packed: Packed) -> None:
        self._schema = dict(packed.schema)
        self._arrow_schema = packed.table.schema
        for position, field in enumerate(packed.table.schema):
            if _is_plain_dictionary(field.type):
                self._words[position] = _Words(field.type)

    def _require_alike(self, packed: Packed) -> None:
        before, now = _of_columns(self._schema), _of_columns(packed.schema)
        if before == now and packed.table.schema.equals(self.arrow_schema):
            self._require_counted(packed)
            self._require_growing(packed)
            return
        names = packed.schema["sql_names"]
        if list(names) != list(self._schema["sql_names"]):
            expected = ", ".join(self._schema["sql_names"])
            raise self._unsupported("the columns", f"{', '.join(names)}, not {expected}", _CURE)
        for position, field in enumerate(packed.table.schema):
            first = self.arrow_schema.field(position)
            types = [s.get("dtypes", ())[position : position + 1] for s in (before, now)]
            if field.type != first.type or types[0] != types[1]:
                is_told = types[0] != types[1]
                had, has = types if is_told else ([first.type], [field.type])
                what = f"{has[0]}, while those before have {had[0]}"
                # What is written can not take a type any more.
                is_late = self._takes_types and _is_open_to(first.type, field.type)
                cure = _STATE_IT if is_late else _CURE
                raise self._unsupported(f"column {names[position]!r}", what, cure)
        raise self._unsupported("its labels, index or attributes", "others than before", _CURE)

    def _require_counted(self, packed: Packed) -> None:
        """Refuse rows that are counted in a way that the whole could not go on with."""
        index, added = self._schema.get("index", {}), packed.schema.get("index", {})
        if "range" not in index:
            return
        start, stop, step = added["range"]
        goes_on = index["range"][1:] == [start, step]
        is_default = (start, step) == (0, 1) and index["range"][::2] == [0, 1]
        if not goes_on and not is_default:
            what = f"a range from {start} to {stop} by {step}, after {index['range']}"
            cure = "Let it go on where the frame before ends, or use reset_index()."
            raise self._unsupported("the index", what, cure)

    def _require_growing(self, packed: Packed) -> None:
        """Refuse more parts of a column whose dictionary can not grow."""
        for position, field in enumerate(packed.table.schema):
            if has_dictionary(field.type) and position not in self._words:
                name = packed.schema["sql_names"][position]
                cure = "Cast it to text, or return one frame with all rows."
                raise self._unsupported(f"column {name!r}", f"{field.type}, in parts", cure)

    def _unsupported(self, column: str, type_name: str, cure: str) -> UnsupportedFrameError:
        place = f"{column} of frame {self._count}" if self._tell_parts else column
        return UnsupportedFrameError(place, type_name, cure)


def _of_columns(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a schema says of the columns, and nothing that depends on the rows."""
    found = {key: value for key, value in schema.items() if key not in ("rows", "index")}
    if "index" in schema:
        index = schema["index"]
        # How rows are counted is no difference; whether they are, or have labels, is.
        found["index"] = {k: v for k, v in index.items() if k not in ("range", "freq")}
    return found


def as_table(frame: Any) -> Any:
    """Return a record batch of Arrow as a table, and anything else as it is."""
    return pa.Table.from_batches([frame]) if isinstance(frame, pa.RecordBatch) else frame


def coalesced(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield the rows of some tables in fewer tables, none of which is small without need."""
    held: list[pa.Table] = []
    # A table of one row takes thousands of bytes: of those that wait there are not many.
    small: list[pa.Table] = []
    rows = size_bytes = 0
    try:
        for table in tables:
            small.append(table)
            rows, size_bytes = rows + table.num_rows, size_bytes + table.nbytes
            if len(small) == _MOST_SMALL:
                held.append(_joined(small))
                small = []
            if rows >= _ROWS or size_bytes >= _SIZE_BYTES:
                yield _joined([*held, *small])
                held, small, rows, size_bytes = [], [], 0, 0
    except UnsupportedFrameError:
        # Those before are whole, and are wanted before the error is.
        if held or small:
            yield _joined([*held, *small])
        raise
    if held or small:
        yield _joined([*held, *small])


def appended(packs: Sequence[Packed], adapter: Adapter) -> Packed:
    """Return packed frames of one kind as one, the rows of one below those of the other.

    Args:
        packs: The frames; one at least.
        adapter: That of their kind.

    Raises:
        UnsupportedFrameError: One is not like those before it.
    """
    if len(packs) == 1:
        return packs[0]
    first = packs[0]
    columns, arrow_schema = _of_columns(first.schema), first.table.schema
    is_alike = not any(has_dictionary(field.type) for field in arrow_schema) and all(
        packed.table.schema.equals(arrow_schema) and _of_columns(packed.schema) == columns
        for packed in packs
    )
    counted = [packed.schema.get("index", {}).get("range") for packed in packs]
    if not is_alike or any(each is not None and each[::2] != [0, 1] for each in counted):
        growing = Growing(adapter)
        tables = [
            growing.add(adapter.from_arrow(packed.table, packed.schema)) for packed in packs
        ]
        return Packed(pa.concat_tables(coalesced(tables)), growing.schema, growing.kind)
    # What has many chunks is slow to digest, to write and to take from.
    tables = list(coalesced(packed.table for packed in packs))
    table = pa.concat_tables(tables) if arrow_schema.names else _rows_alone(tables)
    return _resized(first, table)


def taken(packed: Packed, positions: Iterable[int]) -> Packed:
    """Return the rows of a packed frame that are at some positions, in that order.

    Rows that are only counted are counted anew.

    Args:
        packed: The frame.
        positions: The rows, from 0 on; one may be there twice.
    """
    places = array("q", positions)
    if not packed.table.num_columns:
        return _resized(packed, sized_table([], len(places)))
    # To take from many chunks is slow, and a file may not change a dictionary within.
    table = packed.table.unify_dictionaries().combine_chunks()
    chosen = pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(places)])
    return _resized(packed, table.take(chosen))


def _resized(packed: Packed, table: pa.Table) -> Packed:
    """Return a packed frame with other rows."""
    schema = {**packed.schema, "rows": table.num_rows}
    index = schema.get("index", {})
    if "range" in index:
        schema["index"] = {**index, **row_index.plain(table.num_rows), "names": index["names"]}
    elif index:
        schema["index"] = {**index, "freq": None}
    return Packed(table, schema, packed.kind)


def _joined(tables: list[pa.Table]) -> pa.Table:
    if len(tables) == 1 or not tables[0].num_columns:
        return tables[0] if len(tables) == 1 else _rows_alone(tables)
    columns = [
        _one_chunk([chunk for table in tables for chunk in table.column(position).chunks])
        if any(len(table) for table in tables)
        else tables[0].column(position)
        for position in range(tables[0].num_columns)
    ]
    return pa.Table.from_arrays(columns, schema=tables[0].schema)


def _one_chunk(chunks: list[pa.Array]) -> pa.Array:
    if pa.types.is_dictionary(chunks[0].type):
        # The last dictionary holds all words of those before it, in the same places.
        words = chunks[-1].dictionary
        indices = pa.concat_arrays([chunk.indices for chunk in chunks])
        return pa.DictionaryArray.from_arrays(indices, words, ordered=chunks[0].type.ordered)
    return pa.concat_arrays(chunks)


def _rows_alone(tables: list[pa.Table]) -> pa.Table:
    """Return a table of no columns with the rows of several."""
    return sized_table([], sum(table.num_rows for table in tables))


# --- columns without values -------------------------------------------------------------


def _typed(packed: Packed, schema: Mapping[str, Any], arrow_schema: pa.Schema) -> Packed:
    """Return a packed frame with types of others where it has no values to give any."""
    fields = list(packed.table.schema)
    untyped = [place for place, field in enumerate(fields) if _is_untyped(field.type)]
    # A table of Arrow has the types that somebody stated.
    is_of_arrow = "table_schema" in schema
    if not untyped or is_of_arrow or packed.schema["sql_names"] != schema["sql_names"]:
        return packed
    columns, stated = list(packed.table.columns), list(packed.schema["dtypes"])
    for place in untyped:
        wanted = arrow_schema.field(place)
        if not _is_open_to(fields[place].type, wanted.type):
            continue
        try:
            columns[place] = columns[place].cast(wanted.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            # Whoever puts them together says what does not fit.
            continue
        fields[place], stated[place] = wanted, schema["dtypes"][place]
    table = pa.Table.from_arrays(columns, schema=pa.schema(fields))
    return Packed(table, {**packed.schema, "dtypes": stated}, packed.kind)


def _is_untyped(dtype: pa.DataType) -> bool:
    inner = (dtype.field(n).type for n in range(dtype.num_fields))
    return bool(pa.types.is_null(dtype)) or any(map(_is_untyped, inner))


def _is_open_to(dtype: pa.DataType, wanted: pa.DataType) -> bool:
    """Tell whether two types differ only in what the first one does not say."""
    if pa.types.is_null(dtype) or dtype == wanted:
        return True
    if dtype.id != wanted.id or not dtype.num_fields or dtype.num_fields != wanted.num_fields:
        return False
    if pa.types.is_fixed_size_list(dtype) and dtype.list_size != wanted.list_size:
        return False
    return all(
        own.name == other.name and _is_open_to(own.type, other.type)
        for own, other in ((dtype.field(n), wanted.field(n)) for n in range(dtype.num_fields))
    )


# --- dictionaries -----------------------------------------------------------------------


def _is_plain_dictionary(dtype: pa.DataType) -> bool:
    """Tell whether a type is a dictionary of values that can be told apart by value."""
    types = pa.types
    if not types.is_dictionary(dtype):
        return False
    return not (types.is_nested(dtype.value_type) or types.is_floating(dtype.value_type))


class _Words:
    """The dictionary of a column, which grows: a file has one, and may only add to it."""

    def __init__(self, dtype: pa.DictionaryType) -> None:
        self._dtype = dtype
        self._words = pa.array([], dtype.value_type)

    def encoded(self, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a column in terms of the dictionary, which learns new words from it."""
        return pa.chunked_array(map(self._encoded, column.chunks), self._dtype)

    def _encoded(self, chunk: pa.DictionaryArray) -> pa.DictionaryArray:
        words = chunk.dictionary
        if not words.equals(self._words):
            places = pc.index_in(words, value_set=self._words)
            new = words.filter(places.is_null()).unique()
            if len(new):
                self._words = pa.concat_arrays([self._words, new])
            places = pc.index_in(words, value_set=self._words)
            indices = places.take(chunk.indices).cast(self._dtype.index_type)
        else:
            indices = pa.concat_arrays([chunk.indices, chunk.indices.slice(0, 0)])
        return pa.DictionaryArray.from_arrays(indices, self._words, ordered=self._dtype.ordered)
