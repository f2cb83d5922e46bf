"""Small segments → polars frames by polars' own reader, without loading pyarrow for it.

To load pyarrow takes longer than to read some thousand rows. What polars reads is the same
frame for the types that are listed here; any other goes the way through Arrow.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from usher_pipeline.frames.polars_types import from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read"]

#: What an Arrow file begins with.
_MAGIC_BYTES: Final = 8

#: Types that polars stores as themselves and reads from a file without another's help.
_PLAIN: Final = frozenset(
    (
        "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64",
        "Float32", "Float64", "Boolean", "String", "Binary", "Date",
    )
)  # fmt: skip


def read(data: bytes, schema: Mapping[str, Any]) -> pl.DataFrame | None:
    """Return the frame in a segment; None if it has a type that is not read here.

    Args:
        data: The bytes of the file, which were compared with their digest.
        schema: The schema of the frame that was packed; it may have gone through JSON.
    """
    labels, dtypes = schema["labels"], schema["dtypes"]
    if not labels or not all(isinstance(each, str) and each in _PLAIN for each in dtypes):
        return None
    # As a stream, which an Arrow file holds behind its first bytes: the reader of files hands
    # the work to threads, which a forked process does not have, and takes ten times as long.
    frame = pl.read_ipc_stream(BytesIO(memoryview(data)[_MAGIC_BYTES:]))
    if frame.dtypes != list(map(from_json, dtypes)) or frame.height != schema["rows"]:
        return None
    frame.columns = labels
    return frame
