"""A polars LazyFrame ↔ Arrow: collected once, and a query on the stored values after that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import polars as pl

from usher_pipeline.frames.contract import Packed, plain_only
from usher_pipeline.frames.polars_frames import ADAPTER as FRAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

__all__ = ["ADAPTER", "PolarsLazyAdapter"]


class PolarsLazyAdapter:
    """The verbs for `polars.LazyFrame`."""

    kind: ClassVar[str] = "polars.LazyFrame"
    tabular: ClassVar[str] = FRAMES.kind
    is_lazy: ClassVar[bool] = True

    def owns(self, value: object) -> bool:
        """Return whether `value` is a LazyFrame of polars, or of a subclass."""
        return isinstance(value, pl.LazyFrame)

    def collect(self, frame: pl.LazyFrame) -> pl.DataFrame:
        """Return the frame that the query makes; this runs it.

        Raises:
            UnsupportedFrameError: It is of a subclass, which would not come back.
        """
        plain_only(frame, pl.LazyFrame, "polars.LazyFrame")
        return frame.collect()

    def to_arrow(self, frame: pl.DataFrame | pl.LazyFrame) -> Packed:
        """Return the frame as Arrow table and schema.

        Raises:
            UnsupportedFrameError: Something in it could not be restored exactly.
        """
        collected = self.collect(frame) if isinstance(frame, pl.LazyFrame) else frame
        return FRAMES.to_arrow(collected).of_kind(self.kind)

    def from_arrow(
        self, table: pa.Table, schema: Mapping[str, Any], *, copy: bool = False
    ) -> pl.LazyFrame:
        """Return a query that gives exactly the frame that was collected.

        Args:
            table: Its table.
            schema: Its schema, which may have gone through JSON.
            copy: Whether the frame must not share memory with the table.

        Raises:
            ValueError: The schema is of another kind or format, or does not fit the table.
        """
        if schema.get("kind") != self.kind:
            raise ValueError(f"the schema is of no {self.kind}")
        return FRAMES.from_arrow(table, {**schema, "kind": FRAMES.kind}, copy=copy).lazy()

    def from_plain(self, table: pa.Table) -> pl.LazyFrame:
        """Return a query on the natural frame of any Arrow table."""
        return FRAMES.from_plain(table).lazy()

    def holding(self, described: Any, column: pa.ChunkedArray) -> Any:
        """Return the type of a column once more values were added to it, as plain data.

        Raises:
            ValueError: The type does not hold them.
        """
        return FRAMES.holding(described, column)

    def describe(self, frame: pl.DataFrame) -> tuple[tuple[str, str], ...]:
        """Return label and type of each column of what was collected, as text."""
        return FRAMES.describe(frame)

    def shape(self, frame: pl.DataFrame) -> tuple[int, int]:
        """Return the numbers of rows and of columns of what was collected."""
        return FRAMES.shape(frame)


ADAPTER: Final = PolarsLazyAdapter()
