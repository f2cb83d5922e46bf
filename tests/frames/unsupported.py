"""What can not be stored exactly: the list that the tests try, and that the docs show.

``python tests/frames/unsupported.py`` writes it into ``docs/frames.md``.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

from usher_pipeline.errors import UnsupportedFrameError
from usher_pipeline.frames import adapter_for
from usher_pipeline.frames.contract import require_storable

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE: Final = Path(__file__).parents[2] / "docs" / "frames.md"
BEGIN: Final = "<!-- what is refused: made by tests/frames/unsupported.py -->"
END: Final = "<!-- end of what is refused -->"


class _Genes(pd.DataFrame):
    pass


def _objects(*cells: Any) -> pd.DataFrame:
    values = np.empty(len(cells), dtype=object)
    values[:] = cells
    return pd.DataFrame({"x": pd.Series(values, dtype=object)})


def _endless() -> list[Any]:
    value: list[Any] = [1, "a"]
    value.append(value)
    return value


class _Own(pa.ExtensionType):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(pa.int64(), "an.own")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""


_OWN: Final = _Own()


def _noted(attrs: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"x": [1]})
    frame.attrs = attrs
    return frame


#: What it is → a frame of it.
UNSUPPORTED: Final[dict[str, Callable[[], Any]]] = {
    "polars `Object` columns": lambda: pl.DataFrame({"x": [object()]}),
    "polars struct fields with a NUL in the name": lambda: pl.DataFrame({"x": [{"a\0": 1}]}),
    "subclasses of a frame": lambda: _Genes({"x": [1]}),
    "pandas objects of several types": lambda: _objects(1, "a"),
    "pandas objects with two kinds of missing": lambda: _objects("a", None, np.nan),
    "pandas objects of other types: tuples, sets, your own": lambda: _objects({"a"}),
    "pandas lists and dicts that JSON does not give back": lambda: _objects({1: "a"}),
    "pandas objects that are moments with a zone": lambda: _objects(
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    ),
    "Python integers beyond 64 bits in pandas": lambda: _objects(2**70),
    "text that is not Unicode": lambda: _objects("\ud800"),
    "`longdouble`": lambda: pd.DataFrame({"x": np.array([1], np.longdouble)}),
    "sparse columns": lambda: pd.DataFrame({"x": pd.arrays.SparseArray([0, 1])}),
    "an index that steps by an offset without a text": lambda: pd.DataFrame(
        {"x": [1, 2]},
        index=pd.date_range("2026", periods=2, freq=pd.DateOffset(months=1)),
    ),
    "a level of a MultiIndex with gaps that its type does not have": lambda: pd.DataFrame(
        {"x": [1, 2]}, index=pd.MultiIndex.from_arrays([[1, None], ["a", "b"]])
    ),
    "`attrs` and objects without end": lambda: _objects(_endless()),
    "labels of unknown types": lambda: pd.DataFrame(
        [[1]], columns=pd.Index([frozenset()], dtype=object)
    ),
    "`attrs` that JSON does not give back": lambda: _noted({"a": (1, 2)}),
    "Arrow intervals of months, days and nanoseconds": lambda: pa.table(
        {"x": pa.array([(1, 2, 3)], pa.month_day_nano_interval())}
    ),
    "Arrow unions": lambda: pa.table(
        {"x": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])}
    ),
    "Arrow run-end encoding": lambda: pa.table(
        {"x": pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), ["a"])}
    ),
    "Arrow list views, and views inside other types": lambda: pa.table(
        {"x": pa.array([[1]], pa.list_view(pa.int8()))}
    ),
    "Arrow lists of no items at all": lambda: pa.table(
        {"x": pa.array([[]], pa.list_(pa.int8(), 0))}
    ),
    "Arrow text that is not Unicode, and other arrays that do not validate": lambda: pa.table(
        {
            "x": pa.Array.from_buffers(
                pa.string(),
                1,
                [None, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe")],
            )
        }
    ),
    "Arrow extension types that nobody registered": lambda: pa.table(
        {"x": pa.ExtensionArray.from_storage(_OWN, pa.array([1]))}
    ),
    "Arrow dictionaries of dictionaries": lambda: pa.table(
        {
            "x": pa.DictionaryArray.from_arrays(
                [0], pa.DictionaryArray.from_arrays([0], pa.array(["a"]))
            )
        }
    ),
    "ordered Arrow dictionaries of neither text nor integers": lambda: pa.table(
        {"x": pa.DictionaryArray.from_arrays([0], pa.array([0.5]), ordered=True)}
    ),
    "`UNION`, `GEOMETRY`, `VARIANT` and `TIMESTAMPTZ_NS` of DuckDB": lambda: duckdb.sql(
        "SELECT union_value(a := 1) AS x"
    ),
    "relations with two columns of one name": lambda: duckdb.sql("SELECT 1 AS x, 2 AS X"),
}


def refusal(frame: Any) -> UnsupportedFrameError | None:
    """Return the error that a frame is refused with, if it is."""
    adapter = adapter_for(frame)
    assert adapter is not None
    try:
        require_storable(adapter.to_arrow(adapter.collect(frame)))
    except UnsupportedFrameError as problem:
        return problem
    return None


def listed() -> str:
    """Return the list as Markdown: what it is, and what to do."""
    lines = ["| what is refused | what to do |", "|---|---|"]
    for what, make in UNSUPPORTED.items():
        problem = refusal(make())
        assert problem is not None, what
        lines.append(f"| {what} | {problem.cure.replace('|', '/')} |")
    return "\n".join(lines)


def written(page: str) -> str:
    """Return a page with the list as it is now."""
    pattern = f"{re.escape(BEGIN)}.*{re.escape(END)}"
    table = f"{BEGIN}\n\n{listed()}\n\n{END}"
    return re.sub(pattern, lambda _: table, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
