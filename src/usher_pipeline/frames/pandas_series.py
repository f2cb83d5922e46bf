"""A pandas Series ↔ Arrow: a frame of one column, whose name may be missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import pandas as pd

from usher_pipeline.frames import pandas_labels
from usher_pipeline.frames.contract import Packed, plain_only
from usher_pipeline.frames.pandas_frames import ADAPTER as FRAMES
from usher_pipeline.frames.pandas_frames import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

__all__ = ["ADAPTER", "PandasSeriesAdapter"]

#: What the column is called where the series has no name.
_NAMELESS: Final = "value"


class PandasSeriesAdapter:
    """The verbs for `pandas.Series`."""

    kind: ClassVar[str] = "pandas.Series"
    tabular: ClassVar[str] = FRAMES.kind
    is_lazy: ClassVar[bool] = False

    def owns(self, value: object) -> bool:
        """Return whether `value` is a Series of pandas, or of a subclass."""
        return isinstance(value, pd.Series)

    def collect(self, frame: pd.Series[Any]) -> pd.Series[Any]:
        """Return the series itself; its values are at hand."""
        return frame

    def to_arrow(self, frame: pd.Series[Any]) -> Packed:
        """Return the series as Arrow table and schema.

        Raises:
            UnsupportedFrameError: Something in it could not be restored exactly.
        """
        plain_only(frame, pd.Series, "pandas.Series")
        name = guarded("the name of the series", pandas_labels.label_to_json, frame.name)
        column = pd.Series(
            frame.array, index=frame.index, dtype=frame.dtype, name=_NAMELESS, copy=False
        )
        framed = column.to_frame() if frame.name is None else column.to_frame(frame.name)
        framed.attrs = frame.attrs
        packed = FRAMES.to_arrow(framed).of_kind(self.kind)
        packed.schema["name"] = name
        packed.schema["allows_duplicate_labels"] = frame.flags.allows_duplicate_labels
        return packed

    def from_arrow(
        self,
        table: pa.Table,
        schema: Mapping[str, Any],
        *,
        copy: bool = False,
    ) -> pd.Series[Any]:
        """Return exactly the series that `to_arrow` packed, in writable memory of its own.

        Args:
            table: Its table.
            schema: Its schema, which may have gone through JSON.
            copy: Changes nothing.

        Raises:
            ValueError: The schema is of another kind or format, or does not fit the table.
        """
        if schema.get("kind") != self.kind or len(schema["dtypes"]) != 1:
            raise ValueError(f"the schema is of no {self.kind}")
        # What is forbidden of labels is so of those of the rows, and is said of these.
        plain = {**schema, "kind": FRAMES.kind, "allows_duplicate_labels": True}
        frame = FRAMES.from_arrow(table, plain, copy=copy)
        series: pd.Series[Any] = frame.iloc[:, 0]
        series.name = cast("Any", pandas_labels.label_from_json(schema["name"]))
        series.attrs = dict(schema["attrs"])
        if not schema["allows_duplicate_labels"]:
            cast("Any", series.flags).allows_duplicate_labels = False
        return series

    def from_plain(self, table: pa.Table) -> pd.Series[Any]:
        """Return the first column of any Arrow table."""
        return FRAMES.from_plain(table).iloc[:, 0]

    def holding(self, described: Any, column: pa.ChunkedArray) -> Any:
        """Return the type of a column once more values were added to it, as plain data.

        Raises:
            ValueError: No type of the kind holds them.
        """
        return FRAMES.holding(described, column)

    def describe(self, frame: pd.Series[Any]) -> tuple[tuple[str, str], ...]:
        """Return name and type, as text."""
        return ((str(_NAMELESS if frame.name is None else frame.name), str(frame.dtype)),)

    def shape(self, frame: pd.Series[Any]) -> tuple[int, int]:
        """Return the number of values, in one column."""
        return len(frame), 1


ADAPTER: Final = PandasSeriesAdapter()
