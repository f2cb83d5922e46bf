"""pandas frames ↔ Arrow: values, exact types, index, labels, attributes and flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import pandas as pd

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames import pandas_columns, pandas_labels
from usher_pipeline.frames.arrays import sized_table
from usher_pipeline.frames.contract import SCHEMA_FORMAT, Packed, plain_only
from usher_pipeline.frames.naming import sql_names
from usher_pipeline.workers import side_by_side

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

__all__ = ["ADAPTER", "PandasAdapter", "guarded"]

#: The index classes that are known here; a subclass has state of its own.
_INDEX_CLASSES: Final = frozenset(
    (
        pd.Index, pd.RangeIndex, pd.MultiIndex, pd.CategoricalIndex, pd.IntervalIndex,
        pd.DatetimeIndex, pd.TimedeltaIndex, pd.PeriodIndex,
    )
)  # fmt: skip


class PandasAdapter:
    """The verbs for `pandas.DataFrame`."""

    kind: ClassVar[str] = "pandas.DataFrame"
    tabular: ClassVar[str] = kind
    is_lazy: ClassVar[bool] = False

    def owns(self, value: object) -> bool:
        """Return whether `value` is a pandas frame, or one of a subclass."""
        return isinstance(value, pd.DataFrame)

    def collect(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame itself; its values are at hand."""
        return frame

    def to_arrow(self, frame: pd.DataFrame) -> Packed:
        """Return the frame as Arrow table and schema.

        Raises:
            UnsupportedFrameError: Something in it could not be restored exactly.
        """
        plain_only(frame, pd.DataFrame, "pandas.DataFrame")
        arrays, types = [], []
        for position, label in enumerate(frame.columns):
            series = frame.iloc[:, position]
            array, described = _pack(f"column {label!r}", series.array, series.dtype)
            arrays.append(array)
            types.append(described)
        index, levels = _pack_index(frame.index)
        texts = [*map(str, frame.columns), *_index_texts(frame.index, len(levels))]
        schema = {
            "kind": self.kind,
            "format": SCHEMA_FORMAT,
            "rows": len(frame),
            "labels": guarded("the column labels", pandas_labels.index_to_json, frame.columns),
            "dtypes": types,
            "index": index,
            "attrs": guarded("frame.attrs", pandas_labels.attrs_to_json, frame.attrs),
            "allows_duplicate_labels": frame.flags.allows_duplicate_labels,
            "sql_names": sql_names(texts),
        }
        return Packed(sized_table([*arrays, *levels], len(frame)), schema, self.kind)

    def from_arrow(
        self,
        table: pa.Table,
        schema: Mapping[str, Any],
        *,
        copy: bool = False,  # noqa: ARG002 - a pandas frame always owns its memory
    ) -> pd.DataFrame:
        """Return exactly the frame that `to_arrow` packed, in writable memory of its own.

        Args:
            table: Its table.
            schema: Its schema, which may have gone through JSON.
            copy: Changes nothing.

        Raises:
            ValueError: The schema is of another kind or format, or does not fit the table.
        """
        _check(table, schema, self.kind)
        types = schema["dtypes"]
        index = _unpack_index(table.columns[len(types) :], schema["index"])
        packed = list(zip(table.columns, types, strict=False))
        arrays = side_by_side(lambda each: pandas_columns.unpack(*each), packed, len(table))
        columns = {
            position: pd.Series(values, index=index, dtype=values.dtype, copy=False)
            for position, values in enumerate(arrays)
        }
        frame = pd.DataFrame(columns, index=index, copy=False)
        frame.columns = pandas_labels.index_from_json(schema["labels"])
        frame.attrs = dict(schema["attrs"])
        if not schema["allows_duplicate_labels"]:
            cast("Any", frame.flags).allows_duplicate_labels = False
        return frame

    def from_plain(self, table: pa.Table) -> pd.DataFrame:
        """Return the natural frame of any Arrow table; its column names are the labels."""
        labels = table.column_names
        names = [str(position) for position in range(table.num_columns)]
        table = table.rename_columns(names)
        plain = [name for name in names if pandas_columns.is_plain(table.column(name))]
        chosen = [table.column(name) for name in plain]
        taken = side_by_side(pandas_columns.taken, chosen, len(table))
        rest: pd.DataFrame = table.drop_columns(plain).to_pandas(ignore_metadata=True)
        columns: dict[Any, Any] = dict(zip(plain, taken, strict=True))
        for name, series in rest.items():
            # What pandas shares with Arrow it may not write to; objects are never shared.
            columns[name] = series if series.dtype == object else series.copy()
        frame = pd.DataFrame({name: columns[name] for name in names}, rest.index, copy=False)
        frame.columns = pd.Index(labels)
        return frame

    def holding(self, described: Any, column: pa.ChunkedArray) -> Any:
        """Return the type of a column once more values were added to it, as plain data.

        Raises:
            ValueError: No type of the kind holds them.
        """
        try:
            pandas_columns.unpack(column, described)
        except ValueError:
            wider = pandas_columns.widened(described, column)
            pandas_columns.unpack(column, wider)
            return wider
        return described

    def describe(self, frame: pd.DataFrame) -> tuple[tuple[str, str], ...]:
        """Return label and type of each data column, as text."""
        return tuple(
            (str(label), str(dtype))
            for label, dtype in zip(frame.columns, frame.dtypes, strict=True)
        )

    def shape(self, frame: pd.DataFrame) -> tuple[int, int]:
        """Return the numbers of rows and of data columns."""
        return frame.shape


ADAPTER: Final = PandasAdapter()


def guarded(part: str, write: Any, *values: Any) -> Any:
    """Return what `write` makes of some part of a frame; the error names the part."""
    try:
        return write(*values)
    except pandas_labels.NOT_STORABLE as problem:
        type_name = getattr(problem, "type_name", f"not plain ({problem})")
        cure = getattr(problem, "cure", "Use plain text labels there.")
        raise UnsupportedFrameError(part, type_name, cure) from None


def _pack(part: str, values: Any, dtype: Any) -> tuple[Any, dict[str, Any]]:
    array, described = guarded(part, pandas_columns.pack, values, dtype)
    return array, described


def _check(table: pa.Table, schema: Mapping[str, Any], kind: str) -> None:
    if (schema.get("kind"), schema.get("format")) != (kind, SCHEMA_FORMAT):
        raise ValueError(
            f"the schema is of {schema.get('kind')!r}, format {schema.get('format')!r}; "
            f"expected {kind!r}, format {SCHEMA_FORMAT}"
        )
    expected = len(schema["dtypes"]) + len(schema["index"].get("dtypes", ()))
    if expected != table.num_columns:
        raise ValueError(f"the schema has {expected} columns, the table {table.num_columns}")


# --- the row index ----------------------------------------------------------------------


def _pack_index(index: pd.Index[Any]) -> tuple[dict[str, Any], list[Any]]:
    """Return what an index is as plain data, and its values as columns."""
    if type(index) not in _INDEX_CLASSES:
        raise UnsupportedFrameError(
            "the index", f"a {type(index).__qualname__}", "Use an index of pandas itself."
        )
    names = guarded(
        "the index name", lambda: list(map(pandas_labels.label_to_json, index.names))
    )
    data: dict[str, Any] = {"class": type(index).__name__, "names": names}
    if isinstance(index, pd.RangeIndex):
        return data | {"range": [index.start, index.stop, index.step]}, []
    packed = [
        _pack(
            f"index level {number}" if index.nlevels > 1 else "the index",
            level.array,
            level.dtype,
        )
        for number, level in enumerate(_levels(index))
    ]
    freq = guarded("the index", pandas_labels.freq_to_json, index)
    data |= {"dtypes": [described for _, described in packed], "freq": freq}
    return data, [array for array, _ in packed]


def _levels(index: pd.Index[Any]) -> list[pd.Index[Any]]:
    found = [index.get_level_values(number) for number in range(index.nlevels)]
    for number, level in enumerate(index.levels if isinstance(index, pd.MultiIndex) else ()):
        if level.dtype != found[number].dtype:
            raise UnsupportedFrameError(
                f"index level {number}",
                f"{level.dtype} with missing values",
                "Give the level a type that has missing values, such as Int64.",
            )
    return found


def _index_texts(index: pd.Index[Any], count: int) -> list[str]:
    return [
        f"__index_level_{number}__" if name is None else str(name)
        for number, name in enumerate(index.names[:count])
    ]


def _unpack_index(columns: Sequence[pa.ChunkedArray], data: Mapping[str, Any]) -> pd.Index[Any]:
    if "range" in data:
        index: pd.Index[Any] = pd.RangeIndex(*data["range"])
    else:
        levels = [
            _index_of(pandas_columns.unpack(column, described))
            for column, described in zip(columns, data["dtypes"], strict=True)
        ]
        index = (
            pd.MultiIndex.from_arrays(levels) if data["class"] == "MultiIndex" else levels[0]
        )
        pandas_labels.set_freq(index, data["freq"])
    index.names = [pandas_labels.label_from_json(name) for name in data["names"]]
    if type(index).__name__ != data["class"]:
        raise ValueError(f"the index became a {type(index).__name__}, not a {data['class']}")
    return index


def _index_of(values: Any) -> pd.Index[Any]:
    index: pd.Index[Any] = pd.Index(values, dtype=values.dtype, copy=False)
    return index
