"""polars frames ↔ Arrow: every type but Object, mapped without a copy where it can be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import polars as pl

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames import polars_types
from usher_pipeline.frames.arrays import owned, sized_table
from usher_pipeline.frames.contract import SCHEMA_FORMAT, Packed, plain_only
from usher_pipeline.frames.naming import sql_names
from usher_pipeline.workers import side_by_side

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

__all__ = ["ADAPTER", "PolarsAdapter", "without_columns"]


class PolarsAdapter:
    """The verbs for `polars.DataFrame`."""

    kind: ClassVar[str] = "polars.DataFrame"
    tabular: ClassVar[str] = kind
    is_lazy: ClassVar[bool] = False

    def owns(self, value: object) -> bool:
        """Return whether `value` is a polars frame, or one of a subclass."""
        return isinstance(value, pl.DataFrame)

    def collect(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame itself; its values are at hand."""
        return frame

    def to_arrow(self, frame: pl.DataFrame) -> Packed:
        """Return the frame as Arrow table and schema.

        Raises:
            UnsupportedFrameError: Something in it could not be restored exactly.
        """
        plain_only(frame, pl.DataFrame, "polars.DataFrame")
        storages = [_storage(name, dtype) for name, dtype in frame.schema.items()]
        pairs = list(zip(frame.get_columns(), storages, strict=True))
        columns = side_by_side(lambda pair: _to_arrow(*pair), pairs, frame.height)
        schema = {
            "kind": self.kind,
            "format": SCHEMA_FORMAT,
            "rows": frame.height,
            "labels": frame.columns,
            "dtypes": [polars_types.to_json(dtype) for dtype in frame.dtypes],
            "sql_names": sql_names(frame.columns),
        }
        return Packed(sized_table(columns, frame.height), schema, self.kind)

    def from_arrow(
        self, table: pa.Table, schema: Mapping[str, Any], *, copy: bool = False
    ) -> pl.DataFrame:
        """Return exactly the frame that `to_arrow` packed.

        Args:
            table: Its table.
            schema: Its schema, which may have gone through JSON.
            copy: Whether the frame must not share memory with the table.

        Raises:
            ValueError: The schema is of another kind or format, or does not fit the table.
        """
        _check(table, schema, self.kind)
        if not schema["labels"]:
            return without_columns(schema["rows"])
        columns = [
            _series(column, polars_types.from_json(dtype), copy=copy).alias(str(position))
            for position, (column, dtype) in enumerate(
                zip(table.columns, schema["dtypes"], strict=True)
            )
        ]
        frame = pl.DataFrame(columns)
        # Set afterwards, since polars renames an empty name at construction.
        frame.columns = schema["labels"]
        return frame

    def from_plain(self, table: pa.Table) -> pl.DataFrame:
        """Return the natural frame of any Arrow table; its column names are the labels."""
        if not table.num_columns:
            return without_columns(table.num_rows)
        columns = [
            _natural(column).alias(str(position))
            for position, column in enumerate(table.columns)
        ]
        frame = pl.DataFrame(columns)
        frame.columns = table.column_names
        return frame

    def holding(self, described: Any, column: pa.ChunkedArray) -> Any:
        """Return the type of a column once more values were added to it, as plain data.

        Raises:
            ValueError: The type does not hold them, as an Enum does not hold other words.
        """
        dtype = polars_types.from_json(described)
        if dtype == pl.Null:
            return polars_types.to_json(_natural(column).dtype)
        try:
            _series(column, dtype, copy=False)
        except pl.exceptions.PolarsError as problem:
            raise ValueError(f"not every value is one of {dtype}") from problem
        return described

    def describe(self, frame: pl.DataFrame) -> tuple[tuple[str, str], ...]:
        """Return label and type of each column, as text."""
        return tuple((name, str(dtype)) for name, dtype in frame.schema.items())

    def shape(self, frame: pl.DataFrame) -> tuple[int, int]:
        """Return the numbers of rows and of columns."""
        return frame.shape


ADAPTER: Final = PolarsAdapter()


#: Types that are the same in Arrow, and go from there to polars without a function of either.
_STREAMED: Final = frozenset(
    (
        pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64,
        pl.Float32, pl.Float64, pl.Boolean, pl.String, pl.Binary, pl.Date, pl.Datetime,
    )
)  # fmt: skip


class _Stream:
    """A column by Arrow's stream interface alone.

    By this polars takes the chunks as they lie. For what it knows to be of pyarrow it loads
    all that Arrow computes with, which takes longer than a hit, and joins the chunks.
    Source: https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the chunks as a capsule."""
        return self._column.__arrow_c_stream__(requested_schema)


def _storage(name: str, dtype: pl.DataType) -> pl.DataType:
    try:
        return polars_types.storage(dtype)
    except polars_types.UnstorableTypeError as problem:
        raise UnsupportedFrameError(
            f"column {name!r}", problem.type_name, problem.cure
        ) from None


def _to_arrow(series: pl.Series, storage: pl.DataType) -> pa.Array:
    try:
        named = series.alias("").cast(storage)
        return named.to_arrow(compat_level=pl.CompatLevel.oldest())
    except pl.exceptions.PanicException as problem:
        # It is no Exception, and would pass through all that an error is caught by.
        raise UnsupportedFrameError(
            f"column {series.name!r}",
            f"{series.dtype}, at which polars itself fails ({problem})",
            "Cast it to another type, or drop the column.",
        ) from None


def _check(table: pa.Table, schema: Mapping[str, Any], kind: str) -> None:
    if (schema.get("kind"), schema.get("format")) != (kind, SCHEMA_FORMAT):
        raise ValueError(
            f"the schema is of {schema.get('kind')!r}, format {schema.get('format')!r}; "
            f"expected {kind!r}, format {SCHEMA_FORMAT}"
        )
    if len(schema["labels"]) != table.num_columns:
        raise ValueError(
            f"the schema has {len(schema['labels'])} columns, the table {table.num_columns}"
        )


def _series(column: pa.ChunkedArray, dtype: pl.DataType, *, copy: bool) -> pl.Series:
    if copy:
        column = owned(column)
    is_streamed = dtype.base_type() in _STREAMED and column.num_chunks
    series = pl.Series(_Stream(column)) if is_streamed else _natural(column)
    return series if series.dtype == dtype else series.cast(dtype)


def _natural(column: pa.ChunkedArray) -> pl.Series:
    return cast("pl.Series", pl.from_arrow(column))


def without_columns(row_count: int) -> pl.DataFrame:
    """Return a frame of no columns that still counts its rows."""
    return pl.DataFrame({"_": pl.repeat(None, row_count, eager=True)}).drop("_")
