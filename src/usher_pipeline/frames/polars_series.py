"""A polars Series ↔ Arrow: a frame of one column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import polars as pl

from usher_pipeline.frames.contract import Packed, plain_only
from usher_pipeline.frames.polars_frames import ADAPTER as FRAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

__all__ = ["ADAPTER", "PolarsSeriesAdapter"]


class PolarsSeriesAdapter:
    """The verbs for `polars.Series`."""

    kind: ClassVar[str] = "polars.Series"
    tabular: ClassVar[str] = FRAMES.kind
    is_lazy: ClassVar[bool] = False

    def owns(self, value: object) -> bool:
        """Return whether `value` is a Series of polars, or of a subclass."""
        return isinstance(value, pl.Series)

    def collect(self, frame: pl.Series) -> pl.Series:
        """Return the series itself; its values are at hand."""
        return frame

    def to_arrow(self, frame: pl.Series) -> Packed:
        """Return the series as Arrow table and schema.

        Raises:
            UnsupportedFrameError: Something in it could not be restored exactly.
        """
        plain_only(frame, pl.Series, "polars.Series")
        return FRAMES.to_arrow(self._framed(frame)).of_kind(self.kind)

    def from_arrow(
        self, table: pa.Table, schema: Mapping[str, Any], *, copy: bool = False
    ) -> pl.Series:
        """Return exactly the series that `to_arrow` packed.

        Args:
            table: Its table.
            schema: Its schema, which may have gone through JSON.
            copy: Whether the series must not share memory with the table.

        Raises:
            ValueError: The schema is of another kind or format, or does not fit the table.
        """
        if schema.get("kind") != self.kind or len(schema["labels"]) != 1:
            raise ValueError(f"the schema is of no {self.kind}")
        frame = FRAMES.from_arrow(table, {**schema, "kind": FRAMES.kind}, copy=copy)
        return frame.to_series()

    def from_plain(self, table: pa.Table) -> pl.Series:
        """Return the first column of any Arrow table."""
        return FRAMES.from_plain(table).to_series()

    def holding(self, described: Any, column: pa.ChunkedArray) -> Any:
        """Return the type of a column once more values were added to it, as plain data.

        Raises:
            ValueError: The type does not hold them.
        """
        return FRAMES.holding(described, column)

    def describe(self, frame: pl.Series) -> tuple[tuple[str, str], ...]:
        """Return name and type, as text."""
        return ((frame.name, str(frame.dtype)),)

    def shape(self, frame: pl.Series) -> tuple[int, int]:
        """Return the number of values, in one column."""
        return len(frame), 1

    def _framed(self, series: pl.Series) -> pl.DataFrame:
        frame = series.to_frame()
        # polars makes a name of its own for a series without one.
        frame.columns = [series.name]
        return frame


ADAPTER: Final = PolarsSeriesAdapter()
