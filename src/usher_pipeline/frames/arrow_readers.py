"""Readers of Arrow record batches ↔ Arrow: read once, and a new reader at every hit.

A reader gives its batches but once. So it is no argument that could count by its content,
and what a checkpoint returns is a reader of its own each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import pyarrow as pa

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames.arrow_tables import ADAPTER as TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from usher_pipeline.frames.contract import Packed

__all__ = ["ADAPTER", "ArrowReaderAdapter"]


class ArrowReaderAdapter:
    """The verbs for `pyarrow.RecordBatchReader`."""

    kind: ClassVar[str] = "pyarrow.RecordBatchReader"
    tabular: ClassVar[str] = TABLES.kind
    is_lazy: ClassVar[bool] = True

    def owns(self, value: object) -> bool:
        """Return whether `value` is a reader of record batches."""
        return isinstance(value, pa.RecordBatchReader)

    def collect(self, frame: pa.RecordBatchReader) -> pa.Table:
        """Return what is left to read; the reader has nothing any more after this."""
        return frame.read_all()

    def parts(self, frame: pa.RecordBatchReader) -> Iterator[pa.Table]:
        """Yield what is left to read, in order; the reader has nothing any more after this."""
        yield frame.schema.empty_table()
        for batch in frame:
            yield pa.Table.from_batches([batch])

    def to_arrow(self, frame: pa.Table | pa.RecordBatchReader) -> Packed:
        """Return what was read under types that can be stored, and its schema.

        Raises:
            UnsupportedFrameError: Something in it could not be restored exactly, or it is a
                reader that was not read.
        """
        if isinstance(frame, pa.RecordBatchReader):
            what = "a RecordBatchReader, which can be read but once"
            raise UnsupportedFrameError("the value", what, "Pass its table: read_all().")
        return TABLES.to_arrow(frame).of_kind(self.kind)

    def from_arrow(
        self, table: pa.Table, schema: Mapping[str, Any], *, copy: bool = False
    ) -> pa.RecordBatchReader:
        """Return a reader of just what the other one gave.

        Args:
            table: Its table.
            schema: Its schema, which may have gone through JSON.
            copy: Whether the batches must own their memory.

        Raises:
            ValueError: The schema is of another kind or format, or does not fit the table.
        """
        if schema.get("kind") != self.kind:
            raise ValueError(f"the schema is of no {self.kind}")
        return TABLES.from_arrow(table, {**schema, "kind": TABLES.kind}, copy=copy).to_reader()

    def from_plain(self, table: pa.Table) -> pa.RecordBatchReader:
        """Return a reader of any Arrow table."""
        return table.to_reader()

    def holding(self, described: Any, column: pa.ChunkedArray) -> Any:
        """Return the type of a column once more values were added to it, as plain data.

        Raises:
            ValueError: The values are of another type.
        """
        return TABLES.holding(described, column)

    def describe(self, frame: pa.Table) -> tuple[tuple[str, str], ...]:
        """Return name and type of each column, as text."""
        return TABLES.describe(frame)

    def shape(self, frame: pa.Table) -> tuple[int, int]:
        """Return the numbers of rows and of columns."""
        return TABLES.shape(frame)


ADAPTER: Final = ArrowReaderAdapter()
