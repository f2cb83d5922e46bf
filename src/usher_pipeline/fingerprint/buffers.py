"""The bytes of a file or of a mapped column → a digest, as fast as they can be read.

It tells that a segment is byte for byte what was sealed, for which nothing has to be
rewritten, unlike for the digest of the values. Where the bytes differ the values may still
be the same ones, so only that digest can tell that something is damaged.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import xxhash

from usher_pipeline.workers import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

__all__ = ["buffer_digest", "buffer_digests", "bytes_digest"]

#: How much is read before it is said that it can be let go of.
_PIECE_BYTES: Final = 1 << 25


def bytes_digest(data: Any) -> str:
    """Return the digest of some bytes, as 32 hexadecimal digits.

    >>> bytes_digest(b"USH2A") == bytes_digest(memoryview(b"USH2A"))
    True
    """
    return xxhash.xxh3_128_hexdigest(data)


def buffer_digests(
    table: pa.Table, passed: Callable[[], None] | None = None
) -> tuple[str, ...]:
    """Return the digest of the bytes of each column, see `buffer_digest`.

    Args:
        table: The table of a segment.
        passed: Called again and again, when what was read so far is not needed any more.
    """
    digest = partial(buffer_digest, passed=passed)
    return tuple(side_by_side(digest, table.columns, table.num_rows))


def buffer_digest(column: pa.ChunkedArray, passed: Callable[[], None] | None = None) -> str:
    """Return the digest of the bytes of a column, and of how they are cut into chunks.

    Args:
        column: A column of a segment.
        passed: Called again and again, when what was read so far is not needed any more.

    Returns:
        32 hexadecimal digits; an empty text for a type that has parts of its own, such as
        a list, whose buffers do not say all.
    """
    import pyarrow as pa

    if column.type.num_fields or pa.types.is_dictionary(column.type):
        return ""
    hasher = xxhash.xxh3_128()
    for chunk in column.chunks:
        buffers = chunk.buffers()
        sizes = [None if buffer is None else buffer.size for buffer in buffers]
        hasher.update(repr((len(chunk), chunk.null_count, chunk.offset, sizes)).encode())
        for buffer in filter(None, buffers):
            view = memoryview(buffer)
            for begin in range(0, len(view), _PIECE_BYTES):
                hasher.update(view[begin : begin + _PIECE_BYTES])
                if passed is not None:
                    passed()
    return hasher.hexdigest()
