"""A polars LazyFrame ↔ Arrow: run once, and a query on the stored values after that.

What is stored is scanned by a source of our own, so that a query reads the columns and the
rows that it needs, and each column is checked when it is first read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import polars as pl
from polars.io.plugins import register_io_source

from usher_pipeline.frames import polars_types
from usher_pipeline.frames.contract import Packed, Source, plain_only
from usher_pipeline.frames.polars_frames import ADAPTER as FRAMES
from usher_pipeline.frames.polars_frames import without_columns
from usher_pipeline.frames.views import size_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa

__all__ = ["ADAPTER", "PolarsLazyAdapter", "scan"]

#: How much a scan hands to a query at a time.
_BATCH_BYTES: Final = 1 << 25
_FEWEST_ROWS: Final = 1 << 12


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

    def parts(self, frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
        """Yield what the query makes, in order; this runs it.

        Raises:
            UnsupportedFrameError: It is of a subclass, which would not come back.
        """
        plain_only(frame, pl.LazyFrame, "polars.LazyFrame")
        schema = frame.collect_schema()
        if not schema or any(map(_holds_categories, schema.values())):
            # The categories inside another type have no dictionary that could grow.
            yield frame.collect()
            return
        part = None
        for part in frame.collect_batches(maintain_order=True):
            yield part
        if part is None:
            yield pl.DataFrame(schema=schema)

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


def _holds_categories(dtype: pl.DataType) -> bool:
    """Tell whether there are categories inside a type."""
    inner = getattr(dtype, "inner", None)
    inside = [inner, *(field.dtype for field in getattr(dtype, "fields", ()))]
    inside += [getattr(dtype, "key", None), getattr(dtype, "value", None)]
    return any(
        isinstance(each, (pl.Categorical, pl.Enum)) or _holds_categories(each)
        for each in inside
        if isinstance(each, pl.DataType)
    )


def scan(source: Source, schema: Mapping[str, Any]) -> pl.LazyFrame:
    """Return a query on stored columns, which reads just what is asked for.

    Args:
        source: The columns.
        schema: The schema of a polars frame that was packed; it may have gone through JSON.
    """
    labels: list[str] = schema["labels"]
    dtypes = [polars_types.from_json(dtype) for dtype in schema["dtypes"]]
    places = {label: place for place, label in enumerate(labels)}

    def read(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        _batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        names = labels if with_columns is None else with_columns
        positions = [places[name] for name in names]
        some = {
            **schema,
            "kind": FRAMES.kind,
            "labels": names,
            "dtypes": [schema["dtypes"][place] for place in positions],
        }
        end = source.row_count if n_rows is None else min(n_rows, source.row_count)
        if not names:
            yield without_columns(end)
            return
        table = source.columns(positions)
        row_bytes = size_bytes(table) // max(1, table.num_rows) + 1
        step = max(_FEWEST_ROWS, _BATCH_BYTES // row_bytes)
        for begin in range(0, end, step) if end else [0]:
            part = FRAMES.from_arrow(table.slice(begin, min(step, end - begin)), some)
            yield part if predicate is None else part.filter(predicate)
            source.relieve()

    known = dict(zip(labels, dtypes, strict=True))
    # What is stored never changes, so one scan can serve all that ask for the same.
    return register_io_source(read, schema=known, is_pure=True, explain_name="CHECKPOINT")
