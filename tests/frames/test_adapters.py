"""The adapter of a frame is found without importing a library that nobody uses."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from usher_pipeline.frames import ALL_KINDS, adapter_for, adapter_of_kind, is_frame

FRAMES: Final = [
    pl.DataFrame({"a": [1]}),
    pd.DataFrame({"a": [1]}),
    pl.LazyFrame({"a": [1]}),
    pl.Series([1]),
    pd.Series([1]),
    pa.table({"a": [1]}),
    pa.table({"a": [1]}).to_reader(),
    duckdb.sql("SELECT 1 AS a"),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_has_an_adapter(frame: object) -> None:
    """The adapter of a frame is the one of its kind, and owns it."""
    adapter = adapter_for(frame)
    assert adapter is not None
    assert adapter.owns(frame)
    assert adapter_of_kind(adapter.kind) is adapter
    assert is_frame(frame)
    assert adapter.kind in ALL_KINDS


@pytest.mark.parametrize(
    "value", [None, 1, "text", [1], {"a": pl.DataFrame()}, pl.DataFrame, pd.Index([1])]
)
def test_what_is_no_frame_has_none(value: object) -> None:
    """Classes, collections, an index and plain values are no frames."""
    assert adapter_for(value) is None
    assert not is_frame(value)


def test_an_unknown_kind_is_refused() -> None:
    """A kind of the future is an error that names those that are known."""
    expected = r"'dask.DataFrame', expected one of polars.DataFrame, pandas.DataFrame, "
    with pytest.raises(ValueError, match=expected):
        adapter_of_kind("dask.DataFrame")


@pytest.mark.parametrize("kind", [*ALL_KINDS.split(", "), "dict"])
def test_the_verbs_stand_in_one_order(kind: str) -> None:
    """The adapters have the same verbs in the same order; lazy ones have one more."""
    adapter = adapter_of_kind(kind)
    verbs = [name for name in vars(type(adapter)) if not name.startswith("_")]
    assert verbs == [
        "kind",
        "tabular",
        "is_lazy",
        "owns",
        "collect",
        *(["parts"] if adapter.is_lazy else []),
        "to_arrow",
        "from_arrow",
        "from_plain",
        "holding",
        "describe",
        "shape",
    ]


def test_asking_loads_nothing() -> None:
    """Looking for an adapter imports no frame library."""
    program = """if True:
        import sys
        from usher_pipeline.frames import is_frame
        assert not is_frame([1])
        heavy = {"pandas", "polars", "pyarrow", "numpy", "duckdb"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_polars_frame_loads_no_pandas() -> None:
    """Packing, digesting, publishing and restoring a polars frame leaves pandas alone."""
    program = """if True:
        import sys
        import polars
        from usher_pipeline.frames import adapter_for
        from usher_pipeline.fingerprint.frames import frame_digest
        from usher_pipeline.frames.table_schema import from_sql, to_sql
        frame = polars.DataFrame({"a": [1, None], "b": ["x", None], "c": [[True], None]})
        frame = frame.with_columns(d=polars.Series(["x", None], dtype=polars.Categorical))
        adapter = adapter_for(frame)
        packed = adapter.to_arrow(frame)
        frame_digest(packed)
        from_sql(to_sql(packed.table, list("abcd")), packed.table.schema)
        assert adapter.from_arrow(packed.table, packed.schema).equals(frame)
        assert "pandas" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", program], check=True)
