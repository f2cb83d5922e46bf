"""Frames → digests that are equal exactly when type and values are.

What Arrow leaves open does not count: chunks, slices, offsets, bytes under nulls, a
validity bitmap that is full or absent, the order and the leftovers of a dictionary. What
the values are does, to the bit: -0.0 is not 0.0, and two NaN of different payload differ.
Buffers are hashed where they lie; only what is not canonical is rewritten first.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from usher_pipeline.fingerprint.content import LENGTH, combine, framed
from usher_pipeline.frames.arrays import zero
from usher_pipeline.frames.views import plain_type
from usher_pipeline.workers import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from usher_pipeline.frames import Packed

__all__ = ["column_digest", "column_digests", "frame_digest"]

#: How much is read before it is said that it can be let go of.
_PASSING_BYTES: Final = 1 << 26

_INTS: Final = {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}
_ENTRIES: Final = ("key", "value")


def frame_digest(packed: Packed) -> str:
    """Return the digest of a frame: its kind, its schema and its values."""
    return combine(packed.kind, packed.schema, column_digests(packed.table))


def column_digests(
    table: pa.Table, passed: Callable[[], None] | None = None, *, sealed: bool = False
) -> list[str]:
    """Return the digest of each column, in order.

    Args:
        table: The table.
        passed: Called again and again, when what was read so far is not needed any more.
        sealed: Whether it is that of a segment, in which the layout of text says nothing.
    """
    digest = partial(column_digest, passed=passed, sealed=sealed)
    return side_by_side(digest, table.columns, table.num_rows)


def column_digest(
    column: pa.ChunkedArray,
    passed: Callable[[], None] | None = None,
    *,
    sealed: bool = False,
) -> str:
    """Return the digest of a column as 32 hexadecimal digits.

    Args:
        column: The column.
        passed: Called again and again, when what was read so far is not needed any more.
        sealed: Whether it is one of a segment, in which the layout of text says nothing.

    >>> whole = pa.chunked_array([[1, None, 3]])
    >>> parts = pa.chunked_array([[1], [None, 3]])
    >>> column_digest(whole) == column_digest(parts)
    True

    Raises:
        ValueError: Its type has no canonical form here, such as a union.
    """
    hasher = xxhash.xxh3_128() if passed is None else _Passing(passed)
    dtype = plain_type(column.type) if sealed else column.type
    _type(hasher, dtype)
    hasher.update(LENGTH(len(column)))
    _values(hasher, [chunk for chunk in column.chunks if len(chunk)], dtype)
    return hasher.hexdigest()


class _Passing:
    """A hasher that tells on the way when memory that it read can be let go of."""

    def __init__(self, passed: Callable[[], None]) -> None:
        self._hasher = xxhash.xxh3_128()
        self._passed = passed
        self._unsaid_bytes = 0
        self.hexdigest = self._hasher.hexdigest

    def update(self, data: Any) -> None:
        """Hash some bytes."""
        view = memoryview(data)
        for begin in range(0, len(view), _PASSING_BYTES):
            piece = view[begin : begin + _PASSING_BYTES]
            self._hasher.update(piece)
            self._unsaid_bytes += len(piece)
            if self._unsaid_bytes >= _PASSING_BYTES:
                self._passed()
                self._unsaid_bytes = 0


# --- types ------------------------------------------------------------------------------


def _type(hasher: Any, dtype: pa.DataType) -> None:
    """Hash a type; names that Arrow gives to the insides of lists do not count."""
    types = pa.types
    if types.is_dictionary(dtype):
        framed(hasher, "dictionary")
        _type(hasher, dtype.value_type)
    elif types.is_struct(dtype):
        framed(hasher, f"struct {dtype.num_fields}")
        for position in range(dtype.num_fields):
            field = dtype.field(position)
            framed(hasher, field.name)
            _type(hasher, field.type)
    elif types.is_map(dtype):
        framed(hasher, "map")
        _type(hasher, dtype.key_type)
        _type(hasher, dtype.item_type)
    elif types.is_fixed_size_list(dtype):
        framed(hasher, f"array {dtype.list_size}")
        _type(hasher, dtype.value_type)
    elif types.is_list(dtype) or types.is_large_list(dtype):
        framed(hasher, "list" if types.is_list(dtype) else "large_list")
        _type(hasher, dtype.value_type)
    else:
        framed(hasher, str(dtype))


# --- values -----------------------------------------------------------------------------


def _values(  # noqa: C901 - one branch for each family of types
    hasher: Any, chunks: list[pa.Array], dtype: pa.DataType
) -> None:
    """Hash the values of a column; together with type and length this is unambiguous."""
    types = pa.types
    if types.is_null(dtype):
        return
    if types.is_dictionary(dtype):
        _dictionary(hasher, chunks, dtype)
        return
    _validity(hasher, chunks)
    if types.is_struct(dtype):
        # Flattened, the fields are null where the struct is.
        fields = [chunk.flatten() for chunk in chunks]
        for position in range(dtype.num_fields):
            _values(hasher, [parts[position] for parts in fields], dtype.field(position).type)
    elif types.is_map(dtype):
        entry = pa.struct(zip(_ENTRIES, (dtype.key_type, dtype.item_type), strict=True))
        _lists(hasher, [chunk.cast(pa.list_(entry)) for chunk in chunks], entry)
    elif types.is_fixed_size_list(dtype):
        _values(hasher, [chunk.flatten() for chunk in chunks], dtype.value_type)
    elif types.is_list(dtype) or types.is_large_list(dtype):
        _lists(hasher, chunks, dtype.value_type)
    elif types.is_boolean(dtype):
        for chunk in chunks:
            _buffer(hasher, _filled(chunk).cast(pa.uint8()), 1)
    elif _is_text(dtype):
        _texts(hasher, chunks, dtype)
    else:
        _fixed_width(hasher, chunks, dtype)


def _validity(hasher: Any, chunks: list[pa.Array]) -> None:
    """Hash which values are there: one byte if all are, else one byte for each."""
    if not any(chunk.null_count for chunk in chunks):
        hasher.update(b"\1")
        return
    hasher.update(b"\0")
    for chunk in chunks:
        _buffer(hasher, chunk.is_valid().cast(pa.uint8()), 1)


def _buffer(hasher: Any, array: pa.Array, width: int) -> None:
    """Hash the values of an array of fixed width without nulls, where they lie."""
    if len(array):
        hasher.update(array.buffers()[1].slice(array.offset * width, len(array) * width))


def _filled(array: pa.Array) -> pa.Array:
    return array.fill_null(zero(array.type)) if array.null_count else array


def _fixed_width(hasher: Any, chunks: list[pa.Array], dtype: pa.DataType) -> None:
    try:
        bits = dtype.bit_width
    except ValueError:
        raise ValueError(f"a column of {dtype} has no digest") from None
    plain = _INTS.get(bits) or pa.binary(bits // 8)
    for chunk in chunks:
        _buffer(hasher, _filled(chunk.view(plain)) if chunk.null_count else chunk, bits // 8)


def _is_text(dtype: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(dtype)
        or types.is_large_string(dtype)
        or types.is_binary(dtype)
        or types.is_large_binary(dtype)
    )


def _texts(hasher: Any, chunks: list[pa.Array], dtype: pa.DataType) -> None:
    """Hash all lengths, then all bytes; a null has none."""
    width = 8 if dtype in (pa.large_string(), pa.large_binary()) else 4
    sizes = []
    for chunk in chunks:
        lengths = pc.binary_length(chunk.cast(dtype))
        _buffer(hasher, _filled(lengths).cast(pa.int64()), 8)
        sizes.append(pc.sum(lengths, min_count=0).as_py())
    # Views are rewritten once more, since those of all chunks may be more than fits.
    for chunk, size_bytes in zip(chunks, sizes, strict=True):
        buffer = _text_bytes(chunk.cast(dtype), width, size_bytes)
        if buffer is not None:
            hasher.update(buffer)


def _text_bytes(chunk: pa.Array, width: int, size_bytes: int) -> pa.Buffer | None:
    """Return the bytes of all values, one after another; those under nulls are left out.

    Args:
        chunk: The values.
        width: The size of an offset in bytes.
        size_bytes: How long all values are together.
    """
    if not size_bytes:
        return None
    _, offsets, data = chunk.buffers()
    begin, end = (
        int.from_bytes(offsets.slice((chunk.offset + index) * width, width), "little")
        for index in (0, len(chunk))
    )
    if end - begin == size_bytes:
        return data.slice(begin, size_bytes)
    return _text_bytes(_filled(chunk), width, size_bytes)


def _lists(hasher: Any, chunks: Iterable[pa.Array], inner: pa.DataType) -> None:
    """Hash all lengths, then the values of all lists as one column; a null has none."""
    flat = []
    for chunk in chunks:
        lengths = _filled(pc.list_value_length(chunk))
        _buffer(hasher, lengths.cast(pa.int64()), 8)
        flat.append(chunk.flatten())
    _values(hasher, [values for values in flat if len(values)], inner)


def _dictionary(hasher: Any, chunks: list[pa.Array], dtype: pa.DataType) -> None:
    """Hash the values that occur, in the order of first use, and which is where."""
    inner = dtype.value_type
    if not chunks:
        return
    if pa.types.is_nested(inner) or pa.types.is_floating(inner):
        # Arrow can not tell the bits of such values apart, so each counts where it stands.
        _values(hasher, [chunk.dictionary_decode() for chunk in chunks], inner)
        return
    chunks = pa.chunked_array(chunks).unify_dictionaries().chunks
    distinct = chunks[0].dictionary.dictionary_encode()
    indices = pa.chunked_array([distinct.indices.take(chunk.indices) for chunk in chunks])
    used = indices.unique().drop_null()
    places = pc.index_in(indices, value_set=used)
    _values(hasher, places.chunks, places.type)
    hasher.update(LENGTH(len(used)))
    _values(hasher, [distinct.dictionary.take(used)], inner)
